import { beforeAll, describe, expect, it, test } from "vitest";
import { check, RULES } from "../../../policy/rules.ts";
import type { KubernetesObject } from "../../../common/kubernetes-object.ts";
import { all, type Change, lines, set, stackObjects, twice, without } from "./support.ts";

const P = "dubbo-samples-mesh-provider";
const V1 = `Deployment ${P}-v1`;
const CONSUMER = "Deployment dubbo-samples-mesh-consumer";
const SERVICE = `Service ${P}`;
const ROUTES = `VirtualService ${P}`;
const RULE = `DestinationRule ${P}`;
const SUBSET = `DestinationRule ${P}.v2`;
const CALLS = `AuthorizationPolicy ${P}.dubbo-sa`;
const FILTER = "EnvoyFilter cluster";
const HOST = `${P}.dubbo-canary.svc.cluster.local`;
const POD = "spec/template/spec";
const APP = `${POD}/containers/0`;
const ANNOTATIONS = "spec/template/metadata/annotations";
const CHECK = "spec/configPatches/0/patch/value/health_checks/0";

/** Objects and fields as findings name them. */
const AT = {
  consumer: "Deployment dubbo-canary/dubbo-samples-mesh-consumer",
  v1: `Deployment dubbo-canary/${P}-v1`,
  v2: `Deployment dubbo-canary/${P}-v2`,
  service: `Service dubbo-canary/${P}`,
  routes: `VirtualService dubbo-canary/${P}`,
  rules: `DestinationRule dubbo-canary/${P}`,
  subset: `DestinationRule dubbo-canary/${P}.v2`,
  calls: `AuthorizationPolicy dubbo-canary/${P}.dubbo-sa`,
  filter: "EnvoyFilter dubbo-canary/cluster",
  app: "spec.template.spec.containers[0]",
  check: "spec.configPatches[0].patch.value.health_checks[0]",
};

/** A rule, what is changed in the stack canary, the change, and all that is found then. */
const CASES: readonly (readonly [rule: string, title: string, change: Change, found: readonly string[]])[] = [
  [
    "port-is-grpc",
    "another appProtocol",
    set(SERVICE, "spec/ports/0/appProtocol", "tcp"),
    [`error port-is-grpc ${AT.service} spec.ports[0]: Istio takes it for tcp, not for gRPC`],
  ],
  [
    "port-is-grpc",
    "a name that says http",
    all(set(SERVICE, "spec/ports/0/appProtocol", undefined), set(SERVICE, "spec/ports/0/name", "http-dubbo")),
    [
      `error port-is-grpc ${AT.service} spec.ports[0]: Istio takes it for http, not for gRPC`,
      `warning port-named-grpc ${AT.service} spec.ports[0]: its name is http-dubbo, without the prefix grpc-`,
    ],
  ],
  [
    "port-named-grpc",
    "no appProtocol",
    set(SERVICE, "spec/ports/0/appProtocol", undefined),
    [`warning port-named-grpc ${AT.service} spec.ports[0]: has no appProtocol`],
  ],
  [
    "port-named-grpc",
    "another name",
    set(SERVICE, "spec/ports/0/name", "triple"),
    [`warning port-named-grpc ${AT.service} spec.ports[0]: its name is triple, without the prefix grpc-`],
  ],
  [
    "service-not-headless",
    "no cluster address",
    set(SERVICE, "spec/clusterIP", "None"),
    [
      `error service-not-headless ${AT.service} spec.clusterIP: is headless: Envoy then sends each connection to the address that the caller has resolved`,
    ],
  ],
  [
    "service-selects-all-versions",
    "a selector by version",
    set(SERVICE, "spec/selector/version", "v1"),
    [
      `error service-selects-all-versions ${AT.service} spec.selector.version: selects by version: pods of other versions get no calls, whatever the routes say`,
      `error destination-has-pods ${AT.routes} spec.http[0].route[1].destination: gets calls, but no pods run for subset v2`,
      `error destination-has-pods ${AT.routes} spec.http[1].route[1].destination: gets calls, but no pods run for subset v2`,
    ],
  ],
  [
    "service-reaches-pods",
    "a selector of no pods",
    set("Service dubbo-samples-mesh-consumer", "spec/selector/app", "nobody"),
    [
      "error service-reaches-pods Service dubbo-canary/dubbo-samples-mesh-consumer spec.selector: selects no pods of its namespace",
    ],
  ],
  [
    "service-reaches-pods",
    "an unknown target port",
    set("Service dubbo-samples-mesh-consumer", "spec/ports/0/targetPort", "grpc-other"),
    [
      "error service-reaches-pods Service dubbo-canary/dubbo-samples-mesh-consumer spec.ports[0]: goes to port grpc-other, which no container has",
    ],
  ],
  [
    "namespace-injects",
    "injection off",
    set("Namespace dubbo-canary", "metadata/labels/istio-injection", "disabled"),
    ["error namespace-injects Namespace dubbo-canary metadata.labels: its pods get no sidecar"],
  ],
  [
    "namespace-injects",
    "pods that refuse",
    set(V1, "spec/template/metadata/labels/sidecar.istio.io~1inject", "false"),
    [
      `error namespace-injects ${AT.v1} spec.template.metadata: its pods refuse the sidecar (sidecar.istio.io/inject)`,
    ],
  ],
  [
    "access-logs",
    "no Telemetry",
    without("Telemetry access-logs"),
    ["warning access-logs Namespace dubbo-canary: no Telemetry turns the proxies' access logs on"],
  ],
  [
    "access-logs",
    "logging that is off",
    set("Telemetry access-logs", "spec/accessLogging/0/disabled", true),
    ["warning access-logs Namespace dubbo-canary: no Telemetry turns the proxies' access logs on"],
  ],
  [
    "sidecar-scope",
    "no Sidecar",
    without(`Sidecar ${P}`),
    [
      `warning sidecar-scope ${AT.v1}: no Sidecar names the services that its proxy is told of`,
      `warning sidecar-scope ${AT.v2}: no Sidecar names the services that its proxy is told of`,
    ],
  ],
  [
    "sidecar-scope",
    "a whole namespace",
    set(`Sidecar ${P}`, "spec/egress/0/hosts", ["./*"]),
    [
      `warning sidecar-scope ${AT.v1}: no Sidecar names the services that its proxy is told of`,
      `warning sidecar-scope ${AT.v2}: no Sidecar names the services that its proxy is told of`,
    ],
  ],
  [
    "probes-set",
    "no startup probe",
    set(V1, `${APP}/startupProbe`, undefined),
    [`error probes-set ${AT.v1}: has no startupProbe`],
  ],
  [
    "probes-answered",
    "an unknown port's name",
    set(V1, `${APP}/livenessProbe/httpGet/port`, "health"),
    [`error probes-answered ${AT.v1} ${AT.app}.livenessProbe: asks at port health, which no container has`],
  ],
  [
    "probes-answered",
    "another port",
    set(V1, `${APP}/readinessProbe/httpGet/port`, 8080),
    [`error probes-answered ${AT.v1} ${AT.app}.readinessProbe: asks at port 8080, which no container has`],
  ],
  [
    "probes-answered",
    "another probe's path",
    set(V1, `${APP}/livenessProbe/httpGet/path`, "/ready"),
    [`error probes-answered ${AT.v1} ${AT.app}.livenessProbe: asks for /ready; Dubbo answers it at /live`],
  ],
  [
    "probes-survive-mtls",
    "probes that are not rewritten",
    set(V1, `${ANNOTATIONS}/sidecar.istio.io~1rewriteAppHTTPProbers`, "false"),
    [
      `error probes-survive-mtls ${AT.v1} spec.template.metadata.annotations["sidecar.istio.io/rewriteAppHTTPProbers"]: the kubelet asks in plaintext, which STRICT mTLS resets: the pods never become ready`,
    ],
  ],
  [
    "pod-restricted",
    "root",
    set(V1, `${APP}/securityContext`, { runAsNonRoot: false, readOnlyRootFilesystem: true }),
    [
      `error pod-restricted ${AT.v1} ${AT.app}.securityContext: runAsNonRoot is not true; allowPrivilegeEscalation is not false; capabilities are not dropped`,
    ],
  ],
  [
    "pod-restricted",
    "more capabilities, no seccomp",
    all(
      set(V1, `${POD}/securityContext`, undefined),
      set(V1, `${APP}/securityContext/seccompProfile`, undefined),
      set(V1, `${APP}/securityContext/capabilities/add`, ["NET_ADMIN"]),
      set(V1, `${APP}/securityContext/privileged`, true),
    ),
    [
      `error pod-restricted ${AT.v1} ${AT.app}.securityContext: privileged; capabilities are added: NET_ADMIN; no seccompProfile`,
    ],
  ],
  [
    "pod-restricted",
    "a container that runs first",
    set(V1, `${POD}/initContainers`, [
      { name: "istio-init" },
      {
        name: "fetch",
        image: "r.test/fetch@sha256:00",
        resources: { requests: { cpu: 1, memory: 1 }, limits: { memory: 1 } },
        securityContext: { readOnlyRootFilesystem: true },
      },
    ]),
    [
      `error pod-restricted ${AT.v1} spec.template.spec.initContainers[1].securityContext: runAsNonRoot is not true; allowPrivilegeEscalation is not false; capabilities are not dropped`,
    ],
  ],
  [
    "pod-read-only",
    "a writable image",
    set(V1, `${APP}/securityContext/readOnlyRootFilesystem`, false),
    [`warning pod-read-only ${AT.v1} ${AT.app}.securityContext: readOnlyRootFilesystem is not true`],
  ],
  [
    "token-needed",
    "a token for nothing",
    all(without("RoleBinding dubbo-sa"), set(V1, `${POD}/automountServiceAccountToken`, undefined)),
    [
      `warning token-needed ${AT.v1} spec.template.spec.automountServiceAccountToken: mounts a token of the API server, though no role is bound to its account`,
    ],
  ],
  [
    "service-account-own",
    "the default account",
    set(V1, `${POD}/serviceAccountName`, undefined),
    [
      `warning service-account-own ${AT.v1} spec.template.spec.serviceAccountName: runs as default, the identity of every pod that names none`,
    ],
  ],
  [
    "image-not-latest",
    "latest",
    set(V1, `${APP}/image`, "r.test:5000/provider:latest"),
    [
      `error image-not-latest ${AT.v1} ${AT.app}.image: r.test:5000/provider:latest is another image whenever somebody pushes one`,
      `warning image-by-digest ${AT.v1} ${AT.app}.image: r.test:5000/provider:latest is referred to by tag`,
    ],
  ],
  [
    "image-not-latest",
    "no tag",
    set(V1, `${APP}/image`, "r.test:5000/provider"),
    [
      `error image-not-latest ${AT.v1} ${AT.app}.image: r.test:5000/provider is another image whenever somebody pushes one`,
      `warning image-by-digest ${AT.v1} ${AT.app}.image: r.test:5000/provider is referred to by tag`,
    ],
  ],
  [
    "image-by-digest",
    "a tag that nobody builds",
    set(V1, `${APP}/image`, "r.test:5000/provider:1"),
    [`warning image-by-digest ${AT.v1} ${AT.app}.image: r.test:5000/provider:1 is referred to by tag`],
  ],
  [
    "resources-set",
    "no limit",
    set(V1, `${APP}/resources`, { requests: { cpu: "50m" } }),
    [`warning resources-set ${AT.v1} ${AT.app}.resources: has no requests.memory, no limits.memory`],
  ],
  [
    "disruption-budget",
    "no budget",
    without(`PodDisruptionBudget ${P}-v1`),
    [`warning disruption-budget ${AT.v1}: has 2 pods and no PodDisruptionBudget`],
  ],
  [
    "disruption-budget",
    "a budget that lets none go",
    set(`PodDisruptionBudget ${P}-v1`, "spec", {
      minAvailable: "100%",
      selector: { matchLabels: { app: P, version: "v1" } },
    }),
    [
      "warning disruption-budget PodDisruptionBudget dubbo-canary/dubbo-samples-mesh-provider-v1 spec: lets none of the 2 pods of dubbo-samples-mesh-provider-v1 go: a node can never be drained",
    ],
  ],
  [
    "rollout-keeps-pods",
    "half of the pods at once",
    set(V1, "spec/strategy/rollingUpdate/maxUnavailable", "50%"),
    [
      `warning rollout-keeps-pods ${AT.v1} spec.strategy: a rollout ends 1 of 2 pods before new ones are ready`,
    ],
  ],
  [
    "rollout-keeps-pods",
    "all pods at once",
    set(V1, "spec/strategy", { type: "Recreate" }),
    [
      `warning rollout-keeps-pods ${AT.v1} spec.strategy: a rollout ends 2 of 2 pods before new ones are ready`,
    ],
  ],
  [
    "grace-covers-drain",
    "a grace as long as the drain",
    set(V1, `${POD}/terminationGracePeriodSeconds`, 40),
    [
      `error grace-covers-drain ${AT.v1} spec.template.spec.terminationGracePeriodSeconds: is 40, but the pod takes up to 40 s to end: the kubelet kills its last calls`,
    ],
  ],
  [
    "grace-covers-drain",
    "the default grace and a longer sleep",
    all(
      set(CONSUMER, `${POD}/terminationGracePeriodSeconds`, undefined),
      set(CONSUMER, `${APP}/env`, []),
      set(CONSUMER, `${APP}/lifecycle`, { preStop: { exec: { command: ["sh", "-c", "sleep 31"] } } }),
    ),
    [
      `error grace-covers-drain ${AT.consumer} spec.template.spec.terminationGracePeriodSeconds: is 30, but the pod takes up to 31 s to end: the kubelet kills its last calls`,
    ],
  ],
  [
    "java-options-read",
    "a variable of 1,024 bytes",
    set(CONSUMER, `${APP}/env`, [{ name: "JAVA_TOOL_OPTIONS", value: "é".repeat(512) }]),
    [
      `warning java-options-read ${AT.consumer} ${AT.app}.env: JAVA_TOOL_OPTIONS has 1024 bytes: Java 8 ignores it`,
    ],
  ],
  [
    "check-covers-calls",
    "a subset without a check",
    set(FILTER, "spec/configPatches/1/match/cluster/subset", "v1"),
    [
      `error check-covers-calls ${AT.consumer}: calls flow through outbound|50052|v2|dubbo-samples-mesh-provider.dubbo-canary, which no health check of its Envoy watches`,
      `error check-one-owner ${AT.filter} spec.configPatches[1]: gives a cluster a second health check beside spec.configPatches[0]`,
    ],
  ],
  [
    "check-covers-calls",
    "no check at all",
    without(FILTER),
    [
      `error check-covers-calls ${AT.consumer}: calls flow through outbound|50052|v1|dubbo-samples-mesh-provider.dubbo-canary, which no health check of its Envoy watches`,
      `error check-covers-calls ${AT.consumer}: calls flow through outbound|50052|v2|dubbo-samples-mesh-provider.dubbo-canary, which no health check of its Envoy watches`,
    ],
  ],
  [
    "check-covers-calls",
    "nobody known to check",
    all(without(FILTER), without("Sidecar dubbo-samples-mesh-consumer")),
    [
      `warning sidecar-scope ${AT.consumer}: no Sidecar names the services that its proxy is told of`,
      `error check-covers-calls ${AT.service}: is called, but no EnvoyFilter has it checked`,
    ],
  ],
  [
    "check-covers-calls",
    "inbound clusters",
    set(FILTER, "spec/configPatches/1/match/context", "SIDECAR_INBOUND"),
    [
      `error check-covers-calls ${AT.consumer}: calls flow through outbound|50052|v2|dubbo-samples-mesh-provider.dubbo-canary, which no health check of its Envoy watches`,
      `error check-hits-calls ${AT.filter} spec.configPatches[1].match: watches {"portNumber":50052,"service":"${HOST}","subset":"v2"}, a cluster that carries no call`,
    ],
  ],
  [
    "check-hits-calls",
    "the cluster without a subset",
    set(FILTER, "spec/configPatches/1/match/cluster", { name: `outbound|50052||${HOST}` }),
    [
      `error check-covers-calls ${AT.consumer}: calls flow through outbound|50052|v2|dubbo-samples-mesh-provider.dubbo-canary, which no health check of its Envoy watches`,
      `error check-hits-calls ${AT.filter} spec.configPatches[1].match: watches {"name":"outbound|50052||${HOST}"}, a cluster that carries no call`,
    ],
  ],
  [
    "check-hits-calls",
    "a short name",
    set(FILTER, "spec/configPatches/1/match/cluster/service", P),
    [
      `error check-covers-calls ${AT.consumer}: calls flow through outbound|50052|v2|dubbo-samples-mesh-provider.dubbo-canary, which no health check of its Envoy watches`,
      `error check-hits-calls ${AT.filter} spec.configPatches[1].match: watches {"portNumber":50052,"service":"dubbo-samples-mesh-provider","subset":"v2"}, a cluster that carries no call`,
    ],
  ],
  [
    "check-only-calls",
    "all of the Service's clusters",
    set(FILTER, "spec/configPatches", [
      {
        applyTo: "CLUSTER",
        match: { context: "SIDECAR_OUTBOUND", cluster: { service: HOST, portNumber: 50052 } },
        patch: {
          operation: "MERGE",
          value: {
            ignore_health_on_host_removal: true,
            health_checks: [{ grpc_health_check: { service_name: "x" } }],
          },
        },
      },
    ]),
    [
      `warning check-only-calls ${AT.filter} spec.configPatches[0].match: watches also outbound|50052||dubbo-samples-mesh-provider.dubbo-canary, without any call`,
    ],
  ],
  [
    "check-one-owner",
    "two patches for one cluster",
    set(FILTER, "spec/configPatches/1/match/cluster/subset", undefined),
    [
      `warning check-only-calls ${AT.filter} spec.configPatches[1].match: watches also outbound|50052||dubbo-samples-mesh-provider.dubbo-canary, without any call`,
      `error check-one-owner ${AT.filter} spec.configPatches[1]: gives a cluster a second health check beside spec.configPatches[0]`,
    ],
  ],
  [
    "check-one-owner",
    "two checks in one patch",
    set(FILTER, "spec/configPatches/0/patch/value/health_checks/1", {
      grpc_health_check: { service_name: "x" },
    }),
    [
      `error check-one-owner ${AT.filter} spec.configPatches[0].patch.value.health_checks: gives a cluster 2 health checks, which Envoy refuses`,
    ],
  ],
  [
    "check-one-owner",
    "another EnvoyFilter for the same pods",
    twice(FILTER, "second"),
    [
      `error check-one-owner EnvoyFilter dubbo-canary/second spec.configPatches[0]: gives a cluster a second health check beside ${AT.filter} spec.configPatches[0]`,
      `error check-one-owner EnvoyFilter dubbo-canary/second spec.configPatches[1]: gives a cluster a second health check beside ${AT.filter} spec.configPatches[1]`,
    ],
  ],
  [
    "envoyfilter-scoped",
    "no selector",
    set(FILTER, "spec/workloadSelector", undefined),
    [
      `warning envoyfilter-scoped ${AT.filter} spec.workloadSelector: changes every proxy of its namespace`,
      `warning check-sees-traffic ${AT.v1} spec.template.metadata.annotations: its Envoy does not keep upstream_cx_total, so it checks at the intervals for clusters without traffic`,
      `warning check-sees-traffic ${AT.v2} spec.template.metadata.annotations: its Envoy does not keep upstream_cx_total, so it checks at the intervals for clusters without traffic`,
    ],
  ],
  [
    "check-over-mtls",
    "the documentation's criteria",
    set(FILTER, `${CHECK}/transport_socket_match_criteria`, { useMTLS: true }),
    [
      `error check-over-mtls ${AT.filter} ${AT.check}.transport_socket_match_criteria: {"useMTLS":true} is no match of Istio's, so the check goes out in plaintext`,
    ],
  ],
  [
    "check-alpn",
    "http1.1",
    set(FILTER, `${CHECK}/tls_options`, { alpn_protocols: ["http1.1", "h2"] }),
    [
      `error check-alpn ${AT.filter} ${AT.check}.tls_options.alpn_protocols: http1.1: no protocol that a sidecar listens for`,
    ],
  ],
  [
    "check-alpn",
    "h2 alone",
    set(FILTER, `${CHECK}/tls_options`, { alpn_protocols: ["h2"] }),
    [
      `error check-alpn ${AT.filter} ${AT.check}.tls_options.alpn_protocols: h2: not what a sidecar takes for mTLS`,
    ],
  ],
  [
    "check-asks-service",
    "no service",
    set(FILTER, `${CHECK}/grpc_health_check/service_name`, undefined),
    [
      `warning check-asks-service ${AT.filter} ${AT.check}.grpc_health_check.service_name: names no service, and so asks for the server as a whole`,
    ],
  ],
  [
    "check-asks-service",
    "a connection",
    all(set(FILTER, `${CHECK}/grpc_health_check`, undefined), set(FILTER, `${CHECK}/tcp_health_check`, {})),
    [
      `warning check-asks-service ${AT.filter} ${AT.check}.grpc_health_check.service_name: a connection is answered by the peer's sidecar, also where its application hangs`,
    ],
  ],
  [
    "check-recovers-soon",
    "the sample's healthy_threshold",
    set(FILTER, `${CHECK}/healthy_threshold`, 20),
    [
      `warning check-recovers-soon ${AT.filter} ${AT.check}.healthy_threshold: 20: a peer that serves again gets no calls for 195 s`,
    ],
  ],
  [
    "check-sees-traffic",
    "Istio's default statistics",
    set(CONSUMER, `${ANNOTATIONS}/proxy.istio.io~1config`, "holdApplicationUntilProxyStarts: true"),
    [
      `warning check-sees-traffic ${AT.consumer} spec.template.metadata.annotations: its Envoy does not keep upstream_cx_total, so it checks at the intervals for clusters without traffic`,
    ],
  ],
  [
    "check-drops-removed",
    "pods that stay",
    set(FILTER, "spec/configPatches/0/patch/value/ignore_health_on_host_removal", undefined),
    [
      `warning check-drops-removed ${AT.filter} spec.configPatches[0].patch.value.ignore_health_on_host_removal: a pod that is gone stays in the cluster for as long as its checks pass`,
    ],
  ],
  [
    "mtls-strict",
    "PERMISSIVE",
    set("PeerAuthentication default", "spec/mtls/mode", "PERMISSIVE"),
    [
      "error mtls-strict PeerAuthentication dubbo-canary/default spec.mtls.mode: is PERMISSIVE: pods take plaintext",
    ],
  ],
  [
    "mtls-strict",
    "no PeerAuthentication",
    without("PeerAuthentication default"),
    [
      "error mtls-strict Namespace dubbo-canary: no PeerAuthentication: its pods take plaintext (PERMISSIVE, Istio's default)",
    ],
  ],
  [
    "mtls-strict",
    "plaintext on the Dubbo port",
    set("PeerAuthentication default", "spec/portLevelMtls", { "50052": { mode: "DISABLE" } }),
    [
      "error mtls-strict PeerAuthentication dubbo-canary/default spec.portLevelMtls.50052: takes plaintext on a Dubbo port",
    ],
  ],
  [
    "destination-keeps-mtls",
    "TLS of its own",
    set(RULE, "spec/trafficPolicy/tls", { mode: "SIMPLE" }),
    [
      `error destination-keeps-mtls ${AT.rules} spec.trafficPolicy.tls.mode: SIMPLE takes the place of Istio's mTLS`,
    ],
  ],
  [
    "destination-keeps-mtls",
    "a subset in plaintext",
    set(SUBSET, "spec/subsets/0/trafficPolicy", { tls: { mode: "DISABLE" } }),
    [
      `error destination-keeps-mtls ${AT.subset} spec.subsets[0].trafficPolicy.tls.mode: DISABLE takes the place of Istio's mTLS`,
    ],
  ],
  [
    "authorization-covers-calls",
    "no policy",
    without(CALLS),
    [
      `error authorization-covers-calls ${AT.v1}: is called, and no AuthorizationPolicy says by whom: anybody may`,
      `error authorization-covers-calls ${AT.v2}: is called, and no AuthorizationPolicy says by whom: anybody may`,
    ],
  ],
  [
    "authorization-covers-calls",
    "a policy for others",
    set(CALLS, "spec/selector/matchLabels/app", "other"),
    [
      `error authorization-covers-calls ${AT.v1}: is called, and no AuthorizationPolicy says by whom: anybody may`,
      `error authorization-covers-calls ${AT.v2}: is called, and no AuthorizationPolicy says by whom: anybody may`,
    ],
  ],
  [
    "authorization-admits-check",
    "no Health/Check",
    set(CALLS, "spec/rules/0/to/0/operation/paths", ["/org.apache.dubbo.samples.Greeter/*"]),
    [
      `error authorization-admits-check ${AT.v1}: no AuthorizationPolicy lets ${AT.consumer} ask for /grpc.health.v1.Health/Check: each of its checks fails`,
      `error authorization-admits-check ${AT.v2}: no AuthorizationPolicy lets ${AT.consumer} ask for /grpc.health.v1.Health/Check: each of its checks fails`,
    ],
  ],
  [
    "authorization-admits-check",
    "another caller",
    set(CALLS, "spec/rules/0/from/0/source/principals", ["cluster.local/ns/dubbo-canary/sa/other"]),
    [
      `error authorization-admits-check ${AT.v1}: no AuthorizationPolicy lets ${AT.consumer} ask for /grpc.health.v1.Health/Check: each of its checks fails`,
      `error authorization-admits-check ${AT.v2}: no AuthorizationPolicy lets ${AT.consumer} ask for /grpc.health.v1.Health/Check: each of its checks fails`,
    ],
  ],
  [
    "authorization-admits-check",
    "another port",
    set(CALLS, "spec/rules/0/to/0/operation/ports", ["20880"]),
    [
      `error authorization-admits-check ${AT.v1}: no AuthorizationPolicy lets ${AT.consumer} ask for /grpc.health.v1.Health/Check: each of its checks fails`,
      `error authorization-admits-check ${AT.v2}: no AuthorizationPolicy lets ${AT.consumer} ask for /grpc.health.v1.Health/Check: each of its checks fails`,
    ],
  ],
  [
    "authorization-names-callers",
    "anybody",
    set(CALLS, "spec/rules/0/from", undefined),
    [`warning authorization-names-callers ${AT.calls} spec.rules[0].from: lets anybody in`],
  ],
  [
    "weights-add-up",
    "90",
    set(ROUTES, "spec/http/1/route/0/weight", 70),
    [`error weights-add-up ${AT.routes} spec.http[1].route: the weights add up to 90`],
  ],
  [
    "subset-exists",
    "an unknown subset",
    set(SUBSET, "spec/subsets/0/name", "v3"),
    [
      `error subset-exists ${AT.routes} spec.http[0].route[1].destination: no DestinationRule has the subset v2 of ${HOST}: its calls are answered 503`,
      `error subset-exists ${AT.routes} spec.http[1].route[1].destination: no DestinationRule has the subset v2 of ${HOST}: its calls are answered 503`,
    ],
  ],
  [
    "destination-has-pods",
    "other labels",
    set(SUBSET, "spec/subsets/0/labels/version", "v3"),
    [
      `error destination-has-pods ${AT.routes} spec.http[0].route[1].destination: gets calls, but no pods run for subset v2`,
      `error destination-has-pods ${AT.routes} spec.http[1].route[1].destination: gets calls, but no pods run for subset v2`,
    ],
  ],
  [
    "destination-has-pods",
    "no replicas",
    set(`Deployment ${P}-v2`, "spec/replicas", 0),
    [
      `error destination-has-pods ${AT.routes} spec.http[0].route[1].destination: gets calls, but no pods run for subset v2`,
      `error destination-has-pods ${AT.routes} spec.http[1].route[1].destination: gets calls, but no pods run for subset v2`,
    ],
  ],
  [
    "host-known",
    "a misspelt Service",
    set(SUBSET, "spec/host", `x${HOST}`),
    [
      `error subset-exists ${AT.routes} spec.http[0].route[1].destination: no DestinationRule has the subset v2 of ${HOST}: its calls are answered 503`,
      `error subset-exists ${AT.routes} spec.http[1].route[1].destination: no DestinationRule has the subset v2 of ${HOST}: its calls are answered 503`,
      `error host-known ${AT.subset} spec.host: x${HOST} names no Service among those of its namespace`,
    ],
  ],
  [
    "host-known",
    "a name that Istio does not complete",
    set(ROUTES, "spec/hosts", [`${P}.dubbo-canary`]),
    [
      `error check-covers-calls ${AT.consumer}: calls flow through outbound|50052||dubbo-samples-mesh-provider.dubbo-canary, which no health check of its Envoy watches`,
      `error check-hits-calls ${AT.filter} spec.configPatches[0].match: watches {"portNumber":50052,"service":"${HOST}","subset":"v1"}, a cluster that carries no call`,
      `error check-hits-calls ${AT.filter} spec.configPatches[1].match: watches {"portNumber":50052,"service":"${HOST}","subset":"v2"}, a cluster that carries no call`,
      `error host-known ${AT.routes} spec.hosts[0]: dubbo-samples-mesh-provider.dubbo-canary is no name that Istio completes: it matches nothing`,
    ],
  ],
  [
    "host-qualified",
    "a short name",
    set(RULE, "spec/host", P),
    [
      `warning host-qualified ${AT.rules} spec.host: dubbo-samples-mesh-provider names a Service of the rule's own namespace, wherever the rule is moved`,
    ],
  ],
  [
    "retries-only-unary",
    "a try's time on all methods",
    set(ROUTES, "spec/http/1/retries/perTryTimeout", "1s"),
    [
      `error retries-only-unary ${AT.routes} spec.http[1].retries: repeats calls that the provider may have run, streams among them: perTryTimeout`,
    ],
  ],
  [
    "retries-only-unary",
    "reset on a stream",
    set(ROUTES, "spec/http/0/match/0/uri/exact", "/org.apache.dubbo.samples.Greeter/greetStream"),
    [
      `error retries-only-unary ${AT.routes} spec.http[0].retries: repeats calls that the provider may have run, streams among them: unavailable, cancelled, deadline-exceeded, reset, perTryTimeout`,
    ],
  ],
  [
    "retries-only-unary",
    "Istio's default conditions",
    set(ROUTES, "spec/http/1/retries", { attempts: 1 }),
    [
      `error retries-only-unary ${AT.routes} spec.http[1].retries: repeats calls that the provider may have run, streams among them: Istio's default (unavailable, cancelled)`,
    ],
  ],
  [
    "retries-said",
    "no retries",
    set(ROUTES, "spec/http/1/retries", undefined),
    [
      `warning retries-said ${AT.routes} spec.http[1].retries: says nothing of retries: Istio makes two, on unavailable and cancelled too, times Dubbo's own`,
    ],
  ],
  [
    "timeout-spares-streams",
    "a timeout of all methods",
    set(ROUTES, "spec/http/1/timeout", "30s"),
    [`error timeout-spares-streams ${AT.routes} spec.http[1].timeout: cuts every stream after 30s`],
  ],
  [
    "panic-threshold",
    "no minHealthPercent",
    set(RULE, "spec/trafficPolicy/outlierDetection/minHealthPercent", undefined),
    [
      `warning panic-threshold ${AT.rules} spec.trafficPolicy.outlierDetection.minHealthPercent: turns Envoy's panic threshold off: with all endpoints out, no call is tried`,
    ],
  ],
];

let objects: readonly KubernetesObject[] = [];
let built: readonly string[] = [];
beforeAll(async () => {
  ({ objects, built } = await stackObjects("canary"));
});

describe("a rule", () => {
  test.each(RULES)("$id is kept by the stack canary", ({ id }) => {
    expect(objects).toHaveLength(21);
    expect(check(objects, { built }).filter(({ rule }) => rule === id)).toEqual([]);
  });

  test.each(CASES)("%s finds %s", (rule, _title, change, found) => {
    expect(found.some((line) => line.split(" ")[1] === rule)).toBe(true);
    expect(lines(change(objects), { built })).toEqual(found);
  });

  it("of checks knows a service by a scope alone where it is in the scope's own namespace", () => {
    const sidecar = objects.find(
      ({ kind, metadata }) => kind === "Sidecar" && metadata.name.endsWith("consumer"),
    );
    const deployment = objects.find(
      ({ kind, metadata }) => kind === "Deployment" && metadata.name.endsWith("consumer"),
    );
    const scoped = [sidecar, deployment].flatMap((each) => each ?? []);
    const unchecked = (hosts: readonly string[]): string[] =>
      check(set("Sidecar dubbo-samples-mesh-consumer", "spec/egress/0/hosts", hosts)(scoped))
        .filter(({ rule }) => rule === "check-covers-calls")
        .map(({ message }) => message);
    expect(unchecked([`./${HOST}`, "istio-system/*"])).toEqual([
      "calls flow through outbound|*||dubbo-samples-mesh-provider.dubbo-canary, which no health check of its Envoy watches",
    ]);
    expect(unchecked(["*/otel.traces.svc.cluster.local", "istio-system/*"])).toEqual([]);
  });

  it("has an id of its own, a case that fails, and sentences", () => {
    const ids = RULES.map(({ id }) => id);
    expect(new Set(ids).size).toBe(47);
    expect([...new Set(CASES.map(([rule]) => rule))].sort()).toEqual([...ids].sort());
    for (const { id, text, fix, source } of RULES) {
      expect({
        id: /^[a-z]+(-[a-z]+)+$/.test(id),
        text: text.endsWith("."),
        fix: fix.endsWith("."),
        source: source !== "",
      }).toEqual({
        id: true,
        text: true,
        fix: true,
        source: true,
      });
    }
  });
});

describe("a finding", () => {
  it("names severity, object, field, fix and source, in the order of the rules", () => {
    const [finding, ...others] = check(
      set(V1, `${APP}/securityContext/readOnlyRootFilesystem`, undefined)(objects),
      {
        built,
      },
    );
    expect(finding).toEqual({
      rule: "pod-read-only",
      severity: "warning",
      object: AT.v1,
      path: `${AT.app}.securityContext`,
      message: "readOnlyRootFilesystem is not true",
      fix: "Set readOnlyRootFilesystem: true, and mount an emptyDir where the application writes.",
      source: "https://kubernetes.io/docs/tasks/configure-pod-container/security-context/",
    });
    expect(others).toEqual([]);
  });

  it("is the same whatever the order of the objects", () => {
    const changed = all(without("PeerAuthentication default"), without(FILTER))(objects);
    expect(lines([...changed].reverse(), { built }).sort()).toEqual(lines(changed, { built }).sort());
    expect(lines(changed, { built })).toHaveLength(3);
  });
});
