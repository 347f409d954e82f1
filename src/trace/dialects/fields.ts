import type { Attributes } from "../span.ts";
import type { Reading } from "./dialect.ts";

/** Where a dialect keeps a scalar: the first key that is present wins. */
export type ScalarTable = readonly { field: ScalarField; keys: readonly string[] }[];
type ScalarField =
  | "provider"
  | "requestModel"
  | "responseModel"
  | "responseId"
  | "toolName"
  | "toolCallId"
  | "agentName"
  | "conversationKey"
  | "subject";

/** Reads the scalars of `table` that are there. Numbers become text: some SDKs send numeric ids. */
export function readScalars(attributes: Attributes, table: ScalarTable): Reading {
  const reading: Reading = {};
  for (const { field, keys } of table) {
    const value = keys.map((key) => textAt(attributes, key)).find((text) => text !== undefined);
    if (value !== undefined) reading[field] = value;
  }
  return reading;
}

/** A non-empty string at `key`; a number as its text. */
export function textAt(attributes: Attributes, key: string): string | undefined {
  const value = attributes[key];
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** A finite number at the first of `keys` that has one; numbers in strings count. AI SDK 4 sends NaN. */
export function numberAt(attributes: Attributes, ...keys: readonly string[]): number | undefined {
  for (const key of keys) {
    const value = attributes[key];
    const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
    if (typeof number === "number" && Number.isFinite(number)) return number;
  }
  return undefined;
}

/** Drops the undefined values, so that an absent field does not hide one that another dialect has. */
export function present<T extends object>(fields: { [K in keyof T]: T[K] | undefined }): Partial<T> | undefined {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return entries.length === 0 ? undefined : (Object.fromEntries(entries) as Partial<T>);
}
