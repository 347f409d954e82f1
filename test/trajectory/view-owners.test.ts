import { expect, it } from "vitest";
import { viewsOf } from "../../src/trajectory/entities.ts";
import { declaredProfile } from "../../src/trajectory/tool-profile.ts";
import { learnOwners } from "../../src/trajectory/view-owners.ts";
import { toolConfig } from "../worlds/world.ts";

const read = (tool: string, entityPath: string) =>
  [tool, declaredProfile(tool, toolConfig({ class: "read", entityPaths: [entityPath] }))] as const;
const profiles = new Map([read("get_booking", "booking:{booking_id}"), read("get_room", "room:{room_id}")]);
const templates = ["booking:{booking_id}", "room:{room_id}"];
const booking = { booking_id: "B1", room_id: "R1", nights: 3 };
const asked = (tool: string, args: object, parsed: object) => ({ tool, args, parsed, isError: false });

it("a booking's nights are none of its room's, once a read was asked about the booking", () => {
  const owners = learnOwners(profiles, [
    asked("get_booking", { booking_id: "B1" }, booking),
    asked("get_room", { room_id: "R1" }, { room_id: "R1", free: true }),
  ]);
  expect([...viewsOf({ bookings: [booking] }, templates, owners).keys()]).toEqual(["booking:B1"]);
  expect([...viewsOf({ room_id: "R1", free: true }, templates, owners).keys()]).toEqual(["room:R1"]);
  expect([...viewsOf(booking, templates).keys()]).toEqual(["booking:B1", "room:R1"]);
});

it("fields stay with both where reads of both name each other", () => {
  const owners = learnOwners(profiles, [
    asked("get_booking", { booking_id: "B1" }, booking),
    asked("get_room", { room_id: "R1" }, { room_id: "R1", booking_id: "B1" }),
  ]);
  expect([...viewsOf(booking, templates, owners).keys()]).toEqual(["booking:B1", "room:R1"]);
});
