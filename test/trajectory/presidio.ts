import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text as readText } from "node:stream/consumers";

/** What the analyzer is asked, as its API has it. */
export interface AnalyzeRequest {
  text: string;
  language: string;
  entities?: string[];
  score_threshold?: number;
}

export interface Presidio {
  url: string;
  requests: (AnalyzeRequest & { authorization: string | undefined })[];
  mostAtOnce(): number;
  /** Answers this instead, until it is set back to null. */
  refuse(answer: { status: number; body?: string } | "hang" | null): void;
  close(): Promise<void>;
}

/** Entities by the words that it knows, with their scores. */
export type Knowledge = Readonly<Record<string, { type: string; score?: number }>>;

/**
 * Speaks the API of Presidio's analyzer: `POST /analyze` with one text, answered by entities whose offsets count code points, as Python does, in the order in
 * which they were found, with the fields that nobody asked for.
 */
export async function startPresidio(knowledge: Knowledge): Promise<Presidio> {
  const requests: Presidio["requests"] = [];
  const open = { now: 0, most: 0 };
  let refusal: Parameters<Presidio["refuse"]>[0] = null;
  const server = createServer((request, response) => {
    void (async () => {
      open.most = Math.max(open.most, ++open.now);
      const asked = JSON.parse(await readText(request)) as AnalyzeRequest;
      requests.push({ ...asked, authorization: request.headers.authorization });
      open.now--;
      if (refusal === "hang") return;
      const isAsked = request.method === "POST" && request.url === "/analyze" && asked.text !== "";
      if (refusal !== null) response.writeHead(refusal.status).end(refusal.body ?? '{"error": "no"}');
      else if (!isAsked) response.writeHead(500).end();
      else response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(analyze(asked, knowledge)));
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    mostAtOnce: () => open.most,
    refuse: (answer) => void (refusal = answer),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function analyze({ text, entities, score_threshold: threshold = 0 }: AnalyzeRequest, knowledge: Knowledge): object[] {
  const points = Array.from(text);
  const found: object[] = [];
  for (const [word, { type, score = 0.85 }] of Object.entries(knowledge)) {
    if (score < threshold || (entities !== undefined && !entities.includes(type))) continue;
    const wanted = Array.from(word);
    for (let start = 0; start + wanted.length <= points.length; start++) {
      if (wanted.every((point, index) => points[start + index] === point)) {
        found.push({ analysis_explanation: null, entity_type: type, start, end: start + wanted.length, score });
      }
    }
  }
  return found;
}
