import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Hono } from "hono";

const DIRECTORY = join(import.meta.dirname, "page");
const SCRIPTS = ["page.js", "dom.js", "charts.js", "funnel.js", "run.js", "canary.js", "stable.js"];
const FILES = [
  { path: "/", file: "index.html", type: "text/html; charset=utf-8" },
  ...["page.css", "parts.css"].map((file) => ({ path: `/${file}`, file, type: "text/css; charset=utf-8" })),
  ...SCRIPTS.map((file) => ({ path: `/${file}`, file, type: "text/javascript; charset=utf-8" })),
];

/** The page: static files that read everything from the HTTP API. The policy keeps any script that got into the data from running. */
export function pageRoutes(): Hono {
  const app = new Hono();
  for (const { path, file, type } of FILES) {
    const text = readFileSync(join(DIRECTORY, file), "utf8");
    app.get(path, (context) => {
      context.header("content-type", type);
      context.header(
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
      );
      context.header("x-content-type-options", "nosniff");
      context.header("cache-control", "no-cache");
      context.header("referrer-policy", "no-referrer");
      return context.body(text);
    });
  }
  return app;
}
