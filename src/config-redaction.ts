import { z } from "zod";

/** A detector of personal data beside the patterns of the edge. */
const presidioSchema = z.strictObject({
  driver: z.literal("presidio"),
  url: z.url().describe("Base URL of a Presidio analyzer; texts are posted to `/analyze` below it."),
  tokenFile: z.string().optional().describe("File with a bearer token for it."),
  language: z.string().default("en").describe("Language of the texts, as the analyzer names it."),
  entities: z
    .array(z.string())
    .default([])
    .describe("Entity types to take out, as the analyzer names them (PERSON, LOCATION, …). Empty: all that it knows."),
  scoreThreshold: z.number().min(0).max(1).default(0.5).describe("What is found with a lower score stays."),
  timeoutMs: z.int().positive().default(10_000).describe("Longest wait for one answer."),
  concurrency: z.int().positive().default(4).describe("Requests in flight."),
});

export type DetectorConfig = z.infer<typeof presidioSchema>;

export const redactionSchema = z
  .strictObject({
    detector: z
      .discriminatedUnion("driver", [z.strictObject({ driver: z.literal("none") }), presidioSchema])
      .prefault({ driver: "none" })
      .describe("Examines every message when its conversation is assembled. While it does not answer, nothing is saved."),
  })
  .prefault({})
  .describe("What takes personal data out beyond the patterns of the edge.");
