import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { z } from "zod";
import { statuses, type Order } from "./catalog.ts";
import { createShop, type Shop } from "./shop.ts";

export interface RunningShop {
  url: string;
  shop: Shop;
  close(): Promise<void>;
}

const orderSchema = z.object({
  orderId: z.string(),
  item: z.string(),
  status: z.enum(statuses),
  ageDays: z.int().nonnegative(),
  refunded: z.boolean(),
});

const contactedSchema = z.object({ orderId: z.string(), kind: z.enum(["status", "refund"]), reply: z.string() });

/**
 * Serves a shop on loopback; port 0 takes a free one.
 * `POST /tools/:name` (for agents), `POST /outcome`, `GET|PUT /orders`, `GET /counters` (for whoever runs the shop).
 */
export async function startShop(options: { orders: readonly Order[]; port?: number }): Promise<RunningShop> {
  const shop = createShop(options.orders);
  return new Promise((resolve) => {
    const server = serve({ fetch: shopRoutes(shop).fetch, hostname: "127.0.0.1", port: options.port ?? 0 }, ({ port }) => {
      resolve({
        url: `http://127.0.0.1:${port}`,
        shop,
        close: () => new Promise((closed) => void server.close(() => closed())),
      });
    });
    // Longer than any client keeps an idle connection: one that the server closes first can swallow a call.
    if ("keepAliveTimeout" in server) server.keepAliveTimeout = 65_000;
  });
}

function shopRoutes(shop: Shop): Hono {
  const app = new Hono();
  app.post("/tools/:name", async (context) => {
    const args: unknown = await context.req.json().catch(() => null);
    const { status, body } = shop.call(context.req.param("name"), args);
    return context.json(body, status);
  });
  app.post("/outcome", async (context) => {
    const contacted = contactedSchema.safeParse(await context.req.json().catch(() => null));
    return contacted.success ? context.json(shop.outcome(contacted.data)) : context.json({ error: "invalid contact" }, 400);
  });
  app.get("/orders", (context) => context.json(shop.orders()));
  app.put("/orders", async (context) => {
    const orders = z.array(orderSchema).safeParse(await context.req.json().catch(() => null));
    if (!orders.success) return context.json({ error: "invalid orders" }, 400);
    shop.load(orders.data);
    return context.json({ loaded: orders.data.length });
  });
  app.get("/counters", (context) => context.json(shop.counters()));
  return app;
}
