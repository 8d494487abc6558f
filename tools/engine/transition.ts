import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import type { KubernetesObject } from "./program.ts";

/** Rules of calls that name pods: where they come before the pods do, calls go to pods that are not ready. */
const ROUTING = ["VirtualService", "DestinationRule", "EnvoyFilter"];
/** Rules of who may call: where they come before the pods do, callers that run are refused. */
const AUTHORIZATION = "AuthorizationPolicy";

const deployment = z.looseObject({ spec: z.looseObject({ replicas: z.int().optional() }) });
const policy = z.looseObject({ spec: z.looseObject({ rules: z.array(z.unknown()).optional() }) });

/** The object of this kind and name. */
function counterpart(
  { kind, metadata }: KubernetesObject,
  among: readonly KubernetesObject[],
): KubernetesObject | undefined {
  return among.find((other) => other.kind === kind && other.metadata.name === metadata.name);
}

/** A rule that is there before, whose object is declared with another one. */
function isChanged(object: KubernetesObject, before: readonly KubernetesObject[]): boolean {
  const old = counterpart(object, before);
  return old !== undefined && !isDeepStrictEqual(old["spec"], object["spec"]);
}

/**
 * The objects with as many pods as run, where a Deployment does not say how many: a server-side apply that leaves out what it once set
 * has the API server's default put in its place, one pod, before the autoscaler has looked.
 * Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/#transferring-ownership
 */
export function keepScale(
  objects: readonly KubernetesObject[],
  before: readonly KubernetesObject[],
): KubernetesObject[] {
  return objects.map((object) => {
    const old = object.kind === "Deployment" ? counterpart(object, before) : undefined;
    if (old === undefined) return object;
    const [{ spec }, { spec: live }] = [deployment.parse(object), deployment.parse(old)];
    return { ...object, spec: { ...spec, replicas: spec.replicas ?? live.replicas } };
  });
}

/** A policy that allows what it allowed before, too. */
function both(object: KubernetesObject, before: readonly KubernetesObject[]): KubernetesObject {
  const old = counterpart(object, before);
  if (old === undefined) return object;
  const [{ spec }, { spec: live }] = [policy.parse(object), policy.parse(old)];
  const rules = spec.rules ?? [];
  const kept = (live.rules ?? []).filter((rule) => rules.every((each) => !isDeepStrictEqual(each, rule)));
  return { ...object, spec: { ...spec, rules: [...rules, ...kept] } };
}

/**
 * What is applied before all else where rules that are there change, so that no call fails meanwhile: the pods come first, the calls go on by the
 * old routes, and both the old identities and the new ones are allowed. Undefined where no such rule changes.
 */
export function transition(
  objects: readonly KubernetesObject[],
  before: readonly KubernetesObject[],
): KubernetesObject[] | undefined {
  const rules = objects.filter(({ kind }) => kind === AUTHORIZATION || ROUTING.includes(kind));
  if (!rules.some((rule) => isChanged(rule, before))) return undefined;
  return objects
    .filter((object) => !ROUTING.includes(object.kind) || counterpart(object, before) === undefined)
    .map((object) => (object.kind === AUTHORIZATION ? both(object, before) : object));
}
