import type { KubernetesObject } from "../common/kubernetes-object.ts";
import { at, fields, items, text, texts } from "./fields.ts";
import { isPlain } from "./health-checks.ts";
import {
  appliesTo,
  hides,
  type ManifestCheck,
  type ManifestMesh,
  namespaceOf,
  ofKind,
  podsOf,
  portNumber,
  type WorkloadManifest,
} from "./mesh.ts";
import { type Fault, type Rule, titleOf, unique } from "./rule.ts";

/** Answer of a condition; undefined if the objects do not tell. */
type Answer = boolean | undefined;

function every(answers: readonly Answer[]): Answer {
  if (answers.includes(false)) return false;
  return answers.includes(undefined) ? undefined : true;
}

function some(answers: readonly Answer[]): Answer {
  return not(every(answers.map(not)));
}

function not(answer: Answer): Answer {
  return answer === undefined ? undefined : !answer;
}

/** Request of a health check, as the callee's sidecar sees it. */
type CheckRequest = ReturnType<typeof requestsOf>[number];

/** Answers if a pattern of an AuthorizationPolicy matches the request. */
type Matcher = (pattern: string, request: CheckRequest, policy: KubernetesObject) => Answer;

/** Expressions for the marks of a pattern. Istio allows those in braces in paths. */
const WILDCARDS = new Map(Object.entries({ "{*}": "[^/]+", "{**}": ".*", "*": ".*" }));

/**
 * Matches a value as policies do: `*` and `{**}` stand for any text, `{*}` for a segment of a path.
 * An empty value matches nothing.
 */
function glob(pattern: string, value: string): boolean {
  const parts = pattern
    .split(/(\{\*\*?\}|\*)/)
    .map((part) => WILDCARDS.get(part) ?? part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return value !== "" && new RegExp(`^${parts.join("")}$`).test(value);
}

function accountOf({ pod }: WorkloadManifest): string {
  return text(pod["serviceAccountName"]) ?? "default";
}

/** Applies a matcher of the caller's identity. A request in plaintext has none. */
function byIdentity(matches: (pattern: string, caller: WorkloadManifest, own: string) => Answer): Matcher {
  return (pattern, { caller, plaintext }, policy) => {
    if (plaintext) return false;
    return caller === undefined ? undefined : matches(pattern, caller, namespaceOf(policy));
  };
}

/**
 * Matches a principal. Objects do not tell the trust domain of the mesh, but `cluster.local` stands
 * for it, whatever its name.
 */
const matchesPrincipal = byIdentity((pattern, caller) => {
  const identity = `/ns/${caller.namespace}/sa/${accountOf(caller)}`;
  if (glob(pattern, `cluster.local${identity}`)) return true;
  const [, inDomain = ""] = /^[^/]+(\/.*)$/.exec(pattern) ?? [];
  return glob(inDomain, identity) ? undefined : false;
});

const matchesNamespace = byIdentity((pattern, { namespace }) => glob(pattern, namespace));
const matchesAccount = byIdentity((pattern, caller, own) => {
  const account = pattern.includes("/") ? pattern : `${own}/${pattern}`;
  return account === `${caller.namespace}/${accountOf(caller)}`;
});
const matchesPort: Matcher = (pattern, { port }) =>
  port === undefined ? undefined : pattern === String(port);

const MATCHERS = new Map<string, Matcher>([
  ["principals", matchesPrincipal],
  ["source.principal", matchesPrincipal],
  ["namespaces", matchesNamespace],
  ["source.namespace", matchesNamespace],
  ["ports", matchesPort],
  ["destination.port", matchesPort],
  ["methods", (pattern, { method }) => glob(pattern, method)],
  ["paths", (pattern, { path }) => glob(pattern, path)],
  ["serviceAccounts", matchesAccount],
]);

/** Returns the matcher of an attribute. A check without headers of its own sends no token. */
function matcherOf(attribute: string): Matcher {
  if (!/^request(Principals$|\.auth\.)/.test(attribute)) return MATCHERS.get(attribute) ?? (() => undefined);
  return (_pattern, { headers }) => (headers ? undefined : false);
}

/** Answers if a rule of a policy matches the request. An empty list matches anything. */
function matchesRule(rule: unknown, request: CheckRequest, policy: KubernetesObject): Answer {
  const any = (attribute: string, patterns: unknown): Answer =>
    some(texts(patterns).map((pattern) => matcherOf(attribute)(pattern, request, policy)));
  const one = (attribute: string, wanted: unknown, refused: unknown): Answer =>
    every([texts(wanted).length === 0 || any(attribute, wanted), not(any(attribute, refused))]);
  const all = (own: unknown): Answer =>
    every(
      Object.entries(fields(own)).map(([field, patterns]) => {
        const [, first = "", rest = ""] = /^not(.)(.*)$/.exec(field) ?? [];
        return first === "" ? one(field, patterns, []) : one(first.toLowerCase() + rest, [], patterns);
      }),
    );
  const [sources, operations] = [items(at(rule, "from")), items(at(rule, "to"))];
  return every([
    sources.length === 0 || some(sources.map((each) => all(at(each, "source")))),
    operations.length === 0 || some(operations.map((each) => all(at(each, "operation")))),
    ...items(at(rule, "when")).map((each) =>
      one(text(at(each, "key")) ?? "", at(each, "values"), at(each, "notValues")),
    ),
  ]);
}

/** Returns the AuthorizationPolicies of the pods with an action, without those of a dry run. */
function policiesOf(mesh: ManifestMesh, pods: WorkloadManifest, action: string): readonly KubernetesObject[] {
  return ofKind(mesh, "AuthorizationPolicy").filter(
    (object) =>
      (text(at(object, "spec", "action")) ?? "ALLOW") === action &&
      text(at(object, "metadata", "annotations", "istio.io/dry-run")) !== "true" &&
      appliesTo(object, at(object, "spec", "selector", "matchLabels"), pods),
  );
}

/** Returns how a fault's text begins if the policies of the pods are sure to refuse a request. */
function refusal(mesh: ManifestMesh, pods: WorkloadManifest, request: CheckRequest): string | undefined {
  const matches = (policy: KubernetesObject): Answer =>
    some(items(at(policy, "spec", "rules")).map((rule) => matchesRule(rule, request, policy)));
  const denying = policiesOf(mesh, pods, "DENY").find(matches);
  if (denying !== undefined) return `${titleOf(denying)} does not let`;
  const allowing = policiesOf(mesh, pods, "ALLOW");
  const refused = allowing.length > 0 && allowing.every((policy) => matches(policy) === false);
  return refused ? "no AuthorizationPolicy lets" : undefined;
}

function askedBy({ fields: check }: ManifestCheck) {
  const http = check["http_health_check"];
  if (check["grpc_health_check"] !== undefined)
    return [{ method: "POST", path: "/grpc.health.v1.Health/Check" }];
  const path = (text(at(http, "path")) ?? "").replace(/[?#].*$/, "");
  return http === undefined ? [] : [{ method: text(at(http, "method")) ?? "GET", path }];
}

/** Returns the requests of a check to the pods of its Service. */
function requestsOf(mesh: ManifestMesh, check: ManifestCheck, pods: WorkloadManifest) {
  const known = check.outbound && check.callers.length > 0;
  const callers = check.callers.filter((each) => check.service && !hides(mesh, each, check.service));
  return askedBy(check).flatMap((asked) =>
    check.ports.flatMap(({ target }) =>
      (known ? callers : [undefined]).map((caller) => ({
        ...asked,
        /** Undefined if the pods are not among the objects. */
        caller,
        headers: /_to_add|initial_metadata/.test(JSON.stringify(check.fields)),
        /** True if it goes out in plaintext, without an identity. */
        plaintext: isPlain(check),
        /** Port of the container; undefined if unknown. */
        port: portNumber(pods, target),
      })),
    ),
  );
}

function refusedChecks(mesh: ManifestMesh): Fault[] {
  const faults = mesh.checks.flatMap((check) =>
    podsOf(mesh, check.service).flatMap((pods) =>
      requestsOf(mesh, check, pods).flatMap((request) => {
        const reason = refusal(mesh, pods, request);
        const caller = titleOf(request.caller?.object ?? check.object);
        const message = `${reason ?? ""} ${caller} ask for ${request.path}: each of its checks fails`;
        return reason === undefined ? [] : [{ object: pods.object, message }];
      }),
    ),
  );
  return unique(faults);
}

/** Rules for authorization. */
export const AUTHORIZATION_RULES: readonly Rule[] = [
  {
    id: "authorization-admits-check",
    severity: "error",
    text: "Where calls are authorized, the callers' health checks are, too.",
    fix: "Allow POST /grpc.health.v1.Health/Check on the Dubbo port to the callers' principals, and let no policy deny it.",
    source: "https://istio.io/latest/docs/reference/config/security/authorization-policy/",
    faults: refusedChecks,
  },
];
