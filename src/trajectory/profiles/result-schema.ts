/** What is known of the form of recorded answers has this one owner: what people are shown and what made-up answers are held to. JSON Schema (2020-12): types, required fields, items, and enums where the values seem closed. */
export type ResultSchema = Readonly<Record<string, unknown>>;

const MAX_DEPTH = 8;
/** More names than this, few of which occur everywhere, are keys of a map, and data. */
const MAX_NAMES = 60;
const MAX_ITEMS = 50;
/** Different texts of an enum, how often each must have been seen, and how many answers in all. */
const MAX_ENUM = 8;
const MIN_EACH = 3;
const MIN_ENUM_COUNT = 30;
const MAX_ENUM_LENGTH = 40;

interface Node {
  count: number;
  types: Set<string>;
  names: Map<string, Node>;
  objects: number;
  items: Node | null;
  /** Texts and how often; null when there were too many. */
  texts: Map<string, number> | null;
  isMap: boolean;
}

/**
 * The schema that all of these parsed answers meet; null of none. Fields are required where every object had them. An enum is told only of a few
 * texts of which each was seen again and again, and of none that holds digits: an id or a time is no member of a closed list.
 */
export function inferSchema(answers: readonly unknown[]): ResultSchema | null {
  if (answers.length === 0) return null;
  return { $schema: "https://json-schema.org/draft/2020-12/schema", ...schemaOf(treeOf(answers), "open") };
}

/**
 * The same for answers that somebody is to make up: no field that no recorded answer has. It stands inside another schema and in a prompt, so it names no dialect, and no enum: those are recorded
 * texts, of tapes that nobody would know to be in there. Of none: anything.
 */
export function inferForm(answers: readonly unknown[]): ResultSchema {
  return schemaOf(treeOf(answers), "closed");
}

function treeOf(answers: readonly unknown[]): Node {
  const root = emptyNode();
  for (const answer of answers) add(root, answer, 0);
  return root;
}

function emptyNode(): Node {
  return { count: 0, types: new Set(), names: new Map(), objects: 0, items: null, texts: new Map(), isMap: false };
}

function add(node: Node, value: unknown, depth: number): void {
  node.count += 1;
  node.types.add(typeOf(value));
  if (typeof value === "string") addText(node, value);
  if (depth >= MAX_DEPTH || value === null || typeof value !== "object") return;
  if (Array.isArray(value)) {
    node.items ??= emptyNode();
    for (const item of value.slice(0, MAX_ITEMS)) add(node.items, item, depth + 1);
    return;
  }
  node.objects += 1;
  for (const [name, item] of Object.entries(value)) {
    if (!node.names.has(name) && node.names.size >= MAX_NAMES) node.isMap = true;
    const key = node.isMap && !node.names.has(name) ? "" : name;
    const child = node.names.get(key) ?? emptyNode();
    node.names.set(key, child);
    add(child, item, depth + 1);
  }
}

function addText(node: Node, text: string): void {
  if (node.texts === null) return;
  node.texts.set(text, (node.texts.get(text) ?? 0) + 1);
  if (node.texts.size > MAX_ENUM || text.length > MAX_ENUM_LENGTH) node.texts = null;
}

/** Whether an object may have names that none of the recorded ones has. */
type Others = "open" | "closed";

function schemaOf(node: Node, others: Others): ResultSchema {
  const types = [...node.types].filter((type) => !(type === "integer" && node.types.has("number"))).sort();
  const type = types.length === 0 ? {} : { type: types.length === 1 ? types[0] : types };
  return {
    ...type,
    ...(others === "open" ? enumOf(node) : {}),
    ...(node.items === null ? {} : { items: schemaOf(node.items, others) }),
    ...(node.objects === 0 ? {} : fieldsOf(node, others)),
  };
}

function fieldsOf(node: Node, others: Others): ResultSchema {
  if (node.isMap) return { additionalProperties: schemaOf(mergedNode([...node.names.values()]), others) };
  const names = [...node.names].sort(([one], [other]) => (one < other ? -1 : 1));
  const required = names.filter(([, child]) => child.count === node.objects).map(([name]) => name);
  return {
    // fromEntries defines own properties, so that a field called __proto__ stays data.
    properties: Object.fromEntries(names.map(([name, child]) => [name, schemaOf(child, others)])),
    ...(required.length === 0 ? {} : { required }),
    // Ajv passes over a property of the name __proto__: it would be one too many wherever it came.
    ...(others === "open" || node.names.has("__proto__") ? {} : { additionalProperties: false }),
  };
}

function mergedNode(nodes: readonly Node[]): Node {
  const merged = emptyNode();
  merged.texts = null;
  for (const node of nodes) for (const type of node.types) merged.types.add(type);
  return merged;
}

function enumOf({ texts, types }: Node): ResultSchema {
  if (texts === null || texts.size === 0 || types.size > 1) return {};
  const counts = [...texts.values()];
  const isClosed = counts.every((count) => count >= MIN_EACH) && counts.reduce((sum, count) => sum + count, 0) >= MIN_ENUM_COUNT;
  const isWords = [...texts.keys()].every((text) => /^[^\d@]*$/.test(text));
  return isClosed && isWords ? { enum: [...texts.keys()].sort() } : {};
}

function typeOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return typeof value === "number" ? (Number.isInteger(value) ? "integer" : "number") : typeof value;
}
