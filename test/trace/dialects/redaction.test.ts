import { expect, test } from "vitest";
import { redactRequest } from "../../../src/trace/redact-request.ts";
import { REDACTION_KEY } from "../../collector/capture.ts";
import { RECORDED_SDKS, recordingOf, SENSITIVE } from "../../real/collector/recordings.ts";

test.each(RECORDED_SDKS)("%s: nothing sensitive is left in any place where it carries content", async (sdk) => {
  const requests = recordingOf(sdk);
  const before = Buffer.concat(requests.map(({ body }) => body));
  const after = Buffer.concat(await Promise.all(requests.map(({ body, signal }) => redactRequest(body, signal, REDACTION_KEY))));
  for (const [kind, text] of Object.entries(SENSITIVE)) {
    expect(before.includes(text), `${kind} is planted`).toBe(true);
    expect(after.includes(text), `${kind} is gone`).toBe(false);
    expect(after.includes(`<${kind}_`), `${kind} has a pseudonym`).toBe(true);
  }
});
