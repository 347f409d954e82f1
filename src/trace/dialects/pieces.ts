import { findPii } from "../pii.ts";
import { SECRET_HINT } from "../secrets.ts";

/**
 * Whether text that an SDK recorded in pieces may be put together. The redactor saw each piece alone, in which half an address is none: what shows only in
 * the whole was not redacted, and must not come out of here.
 */
export function mayBeJoined(text: string): boolean {
  return findPii(text).length === 0 && !SECRET_HINT.test(text);
}
