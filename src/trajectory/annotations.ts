import { unflatten } from "../trace/dialects/flattened.ts";
import { isRecord } from "../trace/json.ts";
import { storableText } from "../store/storable.ts";
import type { Attributes, Span } from "../trace/span.ts";
import { keyOf } from "./conversation-key.ts";
import type { Feedback } from "./feedback.ts";

/** Feedback that one span carries is at most this much; the rest is somebody's mistake or attack. */
const MAX_PER_SPAN = 100;
const MAX_NAME_LENGTH = 512;
/** Labels that mean yes or no; others stay text. */
const YES_OR_NO: Readonly<Record<string, boolean>> = { true: true, pass: true, yes: true, false: false, fail: false, no: false };
const SCOPES = { "": "span", "trace.": "trace", "session.": "session" } as const;
const CARRIES = /^(?:trace\.|session\.)?(?:annotations|evaluations)\./;
type Scope = (typeof SCOPES)[keyof typeof SCOPES];

/**
 * OpenInference's feedback on a span: `annotations.N.annotation.*` speak of the span that carries them, `evaluations.N.evaluation.*` of the span that an
 * evaluator's span links to (its parent says nothing). With `trace.` or `session.` before them they speak of that span's trace, or of the carrier's session.
 * Who judged is the identifier, else the kind of annotator, else the scope.
 */
export function annotationsIn(tenant: string, span: Span): Feedback[] {
  const found: Feedback[] = [];
  // Hardly any span carries some, and every span is asked.
  if (!Object.keys(span.attributes).some((name) => CARRIES.test(name))) return found;
  for (const [prefix, scope] of Object.entries(SCOPES) as [keyof typeof SCOPES, Scope][]) {
    for (const item of itemsOf(span.attributes, `${prefix}annotations`, "annotation")) {
      found.push(...feedbackOf(tenant, span, item, targetOf(scope, span, span)));
    }
    for (const item of itemsOf(span.attributes, `${prefix}evaluations`, "evaluation")) {
      found.push(...feedbackOf(tenant, span, item, evaluated(scope, span)));
    }
  }
  return found.slice(0, MAX_PER_SPAN);
}

/** A score as it is; else a label, which may mean yes or no. */
export function judgedValue(score: unknown, label: string | null): number | boolean | string | null {
  if (typeof score === "number" && Number.isFinite(score)) return score;
  return label === null ? null : (YES_OR_NO[label.toLowerCase()] ?? label);
}

/** Text of an attribute as far as it is stored; null for anything else. */
export function shortText(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? storableText(value).slice(0, MAX_NAME_LENGTH) : null;
}

type Target = Pick<Feedback, "targetKind" | "target">;

function itemsOf(attributes: Attributes, prefix: string, inner: string): Record<string, unknown>[] {
  return unflatten(attributes, prefix).items.flatMap((item) => {
    const value = item[inner];
    return isRecord(value) ? [value] : [];
  });
}

/** Exactly one link says what was evaluated; of several nobody knows. A session's evaluation needs none. */
function evaluated(scope: Scope, span: Span): Target | null {
  const [link, ...others] = span.links ?? [];
  if (scope === "session") return targetOf(scope, span, span);
  return link === undefined || others.length > 0 ? null : targetOf(scope, span, link);
}

function targetOf(scope: Scope, carrier: Span, about: { traceId: string; spanId: string }): Target | null {
  if (scope === "span") return { targetKind: "span", target: `${about.traceId}/${about.spanId}` };
  if (scope === "trace") return { targetKind: "trace", target: about.traceId };
  const key = keyOf(carrier);
  return key === null ? null : { targetKind: "conversation", target: key.key };
}

function feedbackOf(tenant: string, span: Span, item: Record<string, unknown>, target: Target | null): Feedback[] {
  const name = shortText(item["name"]);
  const explanation = typeof item["explanation"] === "string" && item["explanation"] !== "" ? item["explanation"] : null;
  const value = judgedValue(item["score"], shortText(item["label"])) ?? explanation;
  if (name === null || value === null || target === null) return [];
  const scopeName = span.scope.name === "" ? "telemetry" : span.scope.name;
  return [
    {
      tenant,
      ...target,
      name,
      source: shortText(item["identifier"]) ?? shortText(item["annotator_kind"])?.toLowerCase() ?? scopeName,
      value,
      ...(explanation === null || explanation === value ? {} : { explanation }),
      atMs: Number(span.endNs / 1_000_000n),
    },
  ];
}
