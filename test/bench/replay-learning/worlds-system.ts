import { parsed, type World } from "../../worlds/world.ts";
import type { System } from "./learning-world.ts";

/** A world of test/worlds as the environment of a conversation. */
export interface WorldSystem extends System {
  world: World;
}

export function systemOf(world: World): WorldSystem {
  return {
    world,
    call(tool, args) {
      const text = world.call(tool, args);
      return { text, isError: parsed(text)["error"] !== undefined };
    },
    clone: () => systemOf(world.clone()),
  };
}

/** @throws TypeError for a system of another kind */
export function worldOf(system: System): World {
  if (!("world" in system)) throw new TypeError("this system is no world of test/worlds");
  return (system as WorldSystem).world;
}
