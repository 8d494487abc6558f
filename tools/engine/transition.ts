import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import type { KubernetesObject } from "./program.ts";

/** Routes: where they come before the pods that they name, calls go to pods that are not ready. */
const ROUTES = "VirtualService";
/** Rules of who may call: where they come before the pods do, callers that run are refused. */
const AUTHORIZATION = "AuthorizationPolicy";
/**
 * What an Envoy needs to know before calls are routed there, as lists: a subset is a cluster, which takes no calls before its first health
 * check has passed (Envoy answers 503, flag NC). What an element is told from the others by stands behind.
 */
const LISTS: Readonly<Record<string, readonly [list: string, key: string]>> = {
  DestinationRule: ["subsets", "name"],
  EnvoyFilter: ["configPatches", "match"],
};

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

const rules = z.looseObject({ spec: z.looseObject({}) });

/** The rules as they were, and what is new in their list. */
function lengthened(
  object: KubernetesObject,
  before: readonly KubernetesObject[],
  [list, key]: readonly [string, string],
): KubernetesObject {
  const old = counterpart(object, before);
  if (old === undefined) return object;
  const [{ spec }, { spec: live }] = [rules.parse(object), rules.parse(old)];
  const [wanted, present] = [spec, live].map((each) => z.array(z.looseObject({})).parse(each[list]));
  const added = wanted?.filter((one) => !present?.some((other) => isDeepStrictEqual(other[key], one[key])));
  return { ...object, spec: { ...live, [list]: [...(present ?? []), ...(added ?? [])] } };
}

/** An object as it is while the pods change. */
function meanwhile(object: KubernetesObject, before: readonly KubernetesObject[]): KubernetesObject[] {
  const { kind } = object;
  if (kind === ROUTES) return counterpart(object, before) === undefined ? [object] : [];
  if (kind === AUTHORIZATION) return [both(object, before)];
  const list = LISTS[kind];
  return [list === undefined ? object : lengthened(object, before, list)];
}

/**
 * What is applied before all else where rules that are there change, so that no call fails meanwhile: the pods come first, and the proxies
 * learn of new subsets, while calls go on by the old routes, and both the old identities and the new ones are allowed. Undefined where no
 * such rule changes.
 */
export function transition(
  objects: readonly KubernetesObject[],
  before: readonly KubernetesObject[],
): KubernetesObject[] | undefined {
  const kinds = [ROUTES, AUTHORIZATION, ...Object.keys(LISTS)];
  if (!objects.some((object) => kinds.includes(object.kind) && isChanged(object, before))) return undefined;
  return objects.flatMap((object) => meanwhile(object, before));
}
