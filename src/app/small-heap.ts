import { setFlagsFromString } from "node:v8";

/** Of what was alive when V8 last looked. */
const GROWTH_PERCENT = 100;

/**
 * Has V8 look for garbage whenever the heap has doubled, in a process that lives on what passes through it: little is ever alive, and what waits to be found would be most of its size.
 * To be called before there is much of a heap. NODE_OPTIONS may not have this flag.
 */
export function keepHeapSmall(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`);
}
