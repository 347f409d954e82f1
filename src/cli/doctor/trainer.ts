import { openCluster } from "../../cluster.ts";
import type { KubernetesJobConfig } from "../../config-job-runner.ts";
import type { Config } from "../../config.ts";
import { NightshiftError } from "../../errors.ts";
import { jobTemplateOf } from "../../app/job-runner.ts";
import { job } from "../../training/job.ts";
import { examineCluster, type ClusterFacts } from "../../training/kubernetes/examine.ts";
import { bad, ok, warn, type Finding } from "./finding.ts";

const CHECK = "trainer's jobs";

/** Whether trainers can be started as Kubernetes Jobs, as far as whoever runs this may. Nothing for a trainer that is a child process. */
export async function checkTrainer({ training: { jobRunner } }: Pick<Config, "training">): Promise<Finding[]> {
  if (jobRunner.driver !== "kubernetes") return [];
  try {
    const trial = job({ runId: "doctor", agent: "doctor" }, jobRunner, jobTemplateOf(jobRunner));
    const cluster = await openCluster();
    const place = { namespace: jobRunner.namespace ?? cluster.namespace, trial, queue: jobRunner.kueueQueue };
    return judge(jobRunner, await examineCluster(place, cluster));
  } catch (error) {
    if (!(error instanceof NightshiftError)) throw error;
    return [bad(CHECK, error.message, error.fix)];
  }
}

function judge(config: KubernetesJobConfig, { namespace, lacking, refusal, hasQueue }: ClusterFacts): Finding[] {
  const rights =
    lacking.length === 0
      ? ok(CHECK, `may be made in namespace ${namespace}`)
      : bad(
          CHECK,
          `this account may not ${lacking.join(", ")} in namespace ${namespace}`,
          "Run doctor with the account of `nightshift serve`, and give it a Role with these verbs.",
        );
  return [
    rights,
    ...(refusal === null
      ? []
      : [
          bad(
            `${CHECK}: trial`,
            `a Job like a run's is refused with ${refusal}`,
            "Correct the field that is named in training.jobRunner or its jobTemplate.",
          ),
        ]),
    ...checkImage(config.image),
    ...checkQueue(config.kueueQueue, hasQueue, namespace),
  ];
}

/** A night that goes on tomorrow with other code than it began with today. */
function checkImage(image: string): Finding[] {
  const [name = "", digest] = image.split("@");
  const tag = name.slice(name.lastIndexOf("/") + 1).split(":")[1];
  if (digest !== undefined || (tag !== undefined && tag !== "latest")) return [];
  return [
    warn(
      `${CHECK}: image`,
      `${image} names no version: a trainer that is started again may be another`,
      "Name a digest, or a tag that never moves.",
    ),
  ];
}

function checkQueue(queue: string | undefined, hasQueue: boolean | null, namespace: string): Finding[] {
  const check = `${CHECK}: queue`;
  if (queue === undefined) return [];
  if (hasQueue === true) return [ok(check, `LocalQueue ${queue}`)];
  if (hasQueue === null)
    return [warn(check, `this account may not look at LocalQueue ${queue}`, `kubectl get localqueue ${queue} --namespace ${namespace}`)];
  return [
    bad(
      check,
      `there is no LocalQueue ${queue} in namespace ${namespace}: Jobs that are labelled for it are never admitted`,
      "Create it, or correct training.jobRunner.kueueQueue.",
    ),
  ];
}
