/** What the shop sells, and for how many days after purchase each item may be refunded. */
export const refundDays: Readonly<Record<string, number>> = {
  lamp: 30,
  mug: 14,
  chair: 60,
  desk: 90,
  kettle: 45,
  radio: 30,
  tent: 60,
  boots: 45,
  jacket: 45,
  camera: 14,
  drill: 90,
  bicycle: 90,
  blanket: 30,
  toaster: 60,
  backpack: 45,
  headphones: 14,
};

export const items: readonly string[] = Object.keys(refundDays);

export const statuses = ["packed", "shipped", "delayed", "delivered"] as const;
export type Status = (typeof statuses)[number];

export interface Order {
  /** `A` and four digits. */
  orderId: string;
  item: string;
  status: Status;
  /** Days since purchase, 1 to 99. */
  ageDays: number;
  refunded: boolean;
}

/** The shop's rule: an order may be refunded up to and including the last day of its item's window. */
export function refundAllowed(order: Order): boolean {
  return order.ageDays <= (refundDays[order.item] ?? 0);
}
