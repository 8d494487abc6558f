import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import type { KubernetesObject } from "./program.ts";

/** Routes: where they come before the pods that they name, calls go to pods that are not ready. */
const ROUTES = "VirtualService";

const deployment = z.looseObject({ spec: z.looseObject({ replicas: z.int() }) });
const autoscaler = z.object({ spec: z.object({ scaleTargetRef: z.object({ name: z.string() }) }) });

/** The object of this kind and name. */
function counterpart(
  { kind, metadata }: KubernetesObject,
  among: readonly KubernetesObject[],
): KubernetesObject | undefined {
  return among.find((other) => other.kind === kind && other.metadata.name === metadata.name);
}

/** The objects with as many pods as run, where an autoscaler decides on them: what Pulumi's `ignoreChanges` is of the program. */
export function keepScale(
  objects: readonly KubernetesObject[],
  before: readonly KubernetesObject[],
): KubernetesObject[] {
  const scalers = objects.filter(({ kind }) => kind === "HorizontalPodAutoscaler");
  const scaled = new Set(scalers.map((scaler) => autoscaler.parse(scaler).spec.scaleTargetRef.name));
  return objects.map((object) => {
    const old = object.kind === "Deployment" ? counterpart(object, before) : undefined;
    if (old === undefined || !scaled.has(object.metadata.name)) return object;
    const [{ spec }, { spec: live }] = [deployment.parse(object), deployment.parse(old)];
    return { ...object, spec: { ...spec, replicas: live.replicas } };
  });
}

/**
 * What is applied before all else, so that no call fails meanwhile: all but the routes that change, which come when the pods are ready, as
 * Pulumi has them by the program's dependencies. What is not declared any more is removed with the routes. Undefined where no route changes
 * and nothing is removed.
 */
export function transition(
  objects: readonly KubernetesObject[],
  before: readonly KubernetesObject[],
): KubernetesObject[] | undefined {
  const changed = objects.filter((object) => {
    const old = object.kind === ROUTES ? counterpart(object, before) : undefined;
    return old !== undefined && !isDeepStrictEqual(old["spec"], object["spec"]);
  });
  const removed = before.some((old) => counterpart(old, objects) === undefined);
  if (changed.length === 0 && !removed) return undefined;
  return objects.filter((object) => !changed.includes(object));
}
