/** The people of every world, by address. Nothing but the address tells them apart, as in a conversation whose personal data was taken out. */
export function addressOf(index: number): string {
  return `guest.${index}@example.com`;
}

/** An address in a text. */
export const ADDRESS = /[a-z]+\.\d+@example\.com/g;
