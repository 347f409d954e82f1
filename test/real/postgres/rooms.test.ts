// The rooms' own tests, on a real server with a pool: their SQL and their transactions must hold there as they do on the embedded one.
import { afterAll, vi } from "vitest";
import { removeServer } from "./fresh-database.ts";

vi.mock("../../store/memory-database.ts", () => import("./fresh-database.ts"));

import "../../promotion/controller.test.ts";
import "../../promotion/gateway-router.test.ts";
import "../../promotion/units.test.ts";
import "../../subjects/erase.test.ts";
import "../../subjects/night.test.ts";
import "../../subjects/retention.test.ts";
import "../../trace/span-store.test.ts";
import "../../training/run-store.test.ts";
import "../../trajectory/assembler.test.ts";
import "../../trajectory/feedback.test.ts";

afterAll(removeServer);
