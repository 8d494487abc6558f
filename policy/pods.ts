import { JAVA_8_OPTIONS_BYTES } from "../settings/java.ts";
import {
  at,
  durationSeconds,
  type Fields,
  fields,
  items,
  labels,
  number,
  picks,
  text,
  texts,
} from "./fields.ts";
import {
  containerPort,
  type ManifestMesh,
  namespaceOf,
  ofKind,
  proxyConfig,
  type WorkloadManifest,
} from "./mesh.ts";
import type { Fault, Rule } from "./rule.ts";
import { peerAuthentication } from "./security.ts";

const PROBES = ["livenessProbe", "readinessProbe", "startupProbe"] as const;
/** Port of Dubbo's QOS server, and its path for each probe. Source: the sample, 4.1. */
const QOS_PORT = "22222";
const QOS_PATHS = { livenessProbe: "/live", readinessProbe: "/ready", startupProbe: "/startup" } as const;

const RESTRICTED = "https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted";

type Container = WorkloadManifest["containers"][number];

/** Returns a fault for each container for which `wrong` has messages. */
function containerFaults(
  mesh: ManifestMesh,
  wrong: (container: Container, workload: WorkloadManifest) => readonly (string | undefined)[],
  field: string,
): Fault[] {
  return mesh.workloads.flatMap((workload) =>
    workload.containers.flatMap((container) => {
      const messages = wrong(container, workload).filter((message) => message !== undefined);
      const path = `${container.path}.${field}`;
      return messages.length === 0 ? [] : [{ object: workload.object, path, message: messages.join("; ") }];
    }),
  );
}

function missingProbes(mesh: ManifestMesh): Fault[] {
  return mesh.workloads.flatMap(({ object, containers }) => {
    const missing = PROBES.filter((probe) => containers.every((each) => each.fields[probe] === undefined));
    return missing.length === 0 ? [] : [{ object, message: `has no ${missing.join(", no ")}` }];
  });
}

/** Returns the fault of a probe's port or path, or undefined. */
function probeFault(
  workload: WorkloadManifest,
  container: Container,
  probe: (typeof PROBES)[number],
): string | undefined {
  const own = fields(container.fields[probe]);
  const http = fields(own["httpGet"]);
  const port = text(http["port"] ?? at(own["tcpSocket"], "port") ?? at(own["grpc"], "port"));
  if (port === undefined) return undefined;
  const declared = containerPort(workload, port);
  if (declared === undefined && port !== QOS_PORT) return `asks at port ${port}, which no container has`;
  if (own["httpGet"] === undefined || (text(declared?.["containerPort"]) ?? port) !== QOS_PORT)
    return undefined;
  const path = text(http["path"]) ?? "/";
  return path === QOS_PATHS[probe] ? undefined : `asks for ${path}; Dubbo answers it at ${QOS_PATHS[probe]}`;
}

function unansweredProbes(mesh: ManifestMesh): Fault[] {
  return PROBES.flatMap((probe) =>
    containerFaults(mesh, (container, workload) => [probeFault(workload, container, probe)], probe),
  );
}

const REWRITE = "sidecar.istio.io/rewriteAppHTTPProbers";

/** Returns the port numbers of the kubelet's HTTP probes. */
function probePorts(workload: WorkloadManifest): string[] {
  return workload.containers.flatMap(({ fields: container }) =>
    PROBES.flatMap((probe) => {
      const port = text(at(container, probe, "httpGet", "port"));
      if (port === undefined) return [];
      return [text(containerPort(workload, port)?.["containerPort"]) ?? port];
    }),
  );
}

function isReachable(mesh: ManifestMesh, workload: WorkloadManifest, port: string): boolean {
  const policy = peerAuthentication(mesh, workload);
  const excluded = workload.annotations["traffic.sidecar.istio.io/excludeInboundPorts"]?.split(",") ?? [];
  const mode = at(policy, "spec", "portLevelMtls", port, "mode") ?? at(policy, "spec", "mtls", "mode");
  return excluded.map((each) => each.trim()).includes(port) || (policy !== undefined && mode !== "STRICT");
}

function plaintextProbes(mesh: ManifestMesh): Fault[] {
  return mesh.workloads
    .filter(
      (workload) =>
        workload.annotations[REWRITE] === "false" &&
        probePorts(workload).some((port) => !isReachable(mesh, workload, port)),
    )
    .map(({ object }) => ({
      object,
      path: `spec.template.metadata.annotations["${REWRITE}"]`,
      message: "the kubelet asks in plaintext, which STRICT mTLS resets: the pods never become ready",
    }));
}

/** Returns a container's securityContext. Its fields override the pod's. */
function contextOf(container: Container, { pod }: WorkloadManifest): Fields {
  return { ...fields(pod["securityContext"]), ...fields(container.fields["securityContext"]) };
}

function unrestricted(container: Container, workload: WorkloadManifest): (string | undefined)[] {
  const context = contextOf(container, workload);
  const dropped = texts(at(context, "capabilities", "drop"));
  const added = texts(at(context, "capabilities", "add")).filter((each) => each !== "NET_BIND_SERVICE");
  const seccomp = text(at(context, "seccompProfile", "type"));
  return [
    context["privileged"] === true ? "privileged" : undefined,
    context["runAsNonRoot"] === true ? undefined : "runAsNonRoot is not true",
    context["allowPrivilegeEscalation"] === false ? undefined : "allowPrivilegeEscalation is not false",
    dropped.includes("ALL") ? undefined : "capabilities are not dropped",
    added.length === 0 ? undefined : `capabilities are added: ${added.join(", ")}`,
    ["RuntimeDefault", "Localhost"].includes(seccomp ?? "") ? undefined : "no seccompProfile",
  ];
}

function boundAccounts(mesh: ManifestMesh): Set<string> {
  const bindings = ["RoleBinding", "ClusterRoleBinding"].flatMap((kind) => ofKind(mesh, kind));
  const subjects = bindings.flatMap((binding) =>
    items(binding["subjects"]).map((subject) =>
      [text(at(subject, "namespace")) ?? namespaceOf(binding), text(at(subject, "name"))].join("/"),
    ),
  );
  return new Set(subjects);
}

function needlessTokens(mesh: ManifestMesh): Fault[] {
  const bound = boundAccounts(mesh);
  return mesh.workloads
    .filter(({ namespace, pod }) => {
      const name = text(pod["serviceAccountName"]) ?? "default";
      const account = ofKind(mesh, "ServiceAccount").find(
        (each) => namespaceOf(each) === namespace && each.metadata.name === name,
      );
      const mounted = pod["automountServiceAccountToken"] ?? account?.["automountServiceAccountToken"];
      return mounted !== false && !bound.has(`${namespace}/${name}`);
    })
    .map(({ object }) => ({
      object,
      path: "spec.template.spec.automountServiceAccountToken",
      message: "mounts a token of the API server, though no role is bound to its account",
    }));
}

function sharedAccounts(mesh: ManifestMesh): Fault[] {
  return mesh.workloads
    .filter(({ pod }) => ["default", undefined].includes(text(pod["serviceAccountName"])))
    .map(({ object }) => ({
      object,
      path: "spec.template.spec.serviceAccountName",
      message: "runs as default, the identity of every pod that names none",
    }));
}

/** Returns an image's tag. Returns undefined if the image has a digest or is not known yet. */
function tagOf(image: string | undefined): string | undefined {
  if (image === undefined || image === "" || image.includes("@sha256:")) return undefined;
  return /:([^:/]+)$/.exec(image)?.[1] ?? "latest";
}

function latestTag(container: Container): (string | undefined)[] {
  const image = text(container.fields["image"]);
  return [
    tagOf(image) === "latest" ? `${image ?? ""} is another image whenever somebody pushes one` : undefined,
  ];
}

function unpinnedImage(container: Container, built: readonly string[]): (string | undefined)[] {
  const image = text(container.fields["image"]);
  const pinned = tagOf(image) === undefined || built.includes(image ?? "");
  return [pinned ? undefined : `${image ?? ""} is referred to by tag`];
}

function missingResources(container: Container): (string | undefined)[] {
  const missing = [
    ["requests", "cpu"],
    ["requests", "memory"],
    ["limits", "memory"],
  ].filter((keys) => at(container.fields["resources"], ...keys) === undefined);
  return [missing.length === 0 ? undefined : `has no ${missing.map((keys) => keys.join(".")).join(", no ")}`];
}

/** Converts a number or a percentage of `total` to a number of pods. */
function share(value: unknown, total: number, round: (exact: number) => number): number {
  const plain = text(value) ?? "";
  return plain.endsWith("%") ? round((Number(plain.slice(0, -1)) / 100) * total) : Number(plain);
}

/**
 * Returns the number of pods that a budget lets go at once.
 * Source: Kubernetes rounds both percentages up.
 */
function evictablePods(budget: KubernetesBudget, replicas: number): number {
  const { maxUnavailable, minAvailable } = budget;
  if (maxUnavailable !== undefined) return share(maxUnavailable, replicas, Math.ceil);
  return minAvailable === undefined ? 0 : replicas - share(minAvailable, replicas, Math.ceil);
}

interface KubernetesBudget {
  readonly maxUnavailable?: unknown;
  readonly minAvailable?: unknown;
}

function unbudgeted(mesh: ManifestMesh): Fault[] {
  return mesh.workloads.flatMap(({ object, namespace, labels: own, replicas }): Fault[] => {
    const budgets = ofKind(mesh, "PodDisruptionBudget").filter(
      (each) =>
        namespaceOf(each) === namespace && picks(labels(at(each, "spec", "selector", "matchLabels")), own),
    );
    if (budgets.length === 0)
      return replicas > 1 ? [{ object, message: `has ${replicas} pods and no PodDisruptionBudget` }] : [];
    return budgets
      .filter((each) => replicas > 0 && evictablePods(fields(each["spec"]), replicas) < 1)
      .map((each) => ({
        object: each,
        path: "spec",
        message: `lets none of the ${replicas} pods of ${object.metadata.name} go: a node can never be drained`,
      }));
  });
}

/**
 * Returns the number of pods that may be missing during a rollout.
 * Source: Kubernetes' ResolveFenceposts; both settings default to 25 %.
 */
function missingInRollout({ object, replicas }: WorkloadManifest): number {
  const strategy = fields(at(object, "spec", "strategy"));
  if (strategy["type"] === "Recreate") return replicas;
  const rolling = fields(strategy["rollingUpdate"]);
  const unavailable = share(rolling["maxUnavailable"] ?? "25%", replicas, Math.floor);
  const surge = share(rolling["maxSurge"] ?? "25%", replicas, Math.ceil);
  return unavailable === 0 && surge === 0 ? 1 : unavailable;
}

function lossyRollouts(mesh: ManifestMesh): Fault[] {
  return mesh.workloads
    .filter(({ object, replicas }) => object.kind === "Deployment" && replicas > 0)
    .flatMap((workload) => {
      const lacking = missingInRollout(workload);
      const message = `a rollout ends ${lacking} of ${workload.replicas} pods before new ones are ready`;
      return lacking === 0 ? [] : [{ object: workload.object, path: "spec.strategy", message }];
    });
}

/** Returns the value of an environment variable, or undefined if the manifest does not have it. */
function variable({ fields: container }: Container, name: string): string | undefined {
  const found = items(container["env"]).find((each) => at(each, "name") === name);
  return text(at(found, "value"));
}

/**
 * Returns the seconds of a Dubbo property from the environment or from JAVA_TOOL_OPTIONS. The
 * property is in milliseconds.
 */
function dubboSeconds(container: Container, property: string): number {
  const own = variable(container, property.toUpperCase().replaceAll(".", "_"));
  const option = new RegExp(`-D${property.replaceAll(".", "\\.")}=(\\d+)`).exec(
    variable(container, "JAVA_TOOL_OPTIONS") ?? "",
  );
  return (number(own ?? option?.[1]) ?? 0) / 1000;
}

function unreadOptions(container: Container): (string | undefined)[] {
  const bytes = Buffer.byteLength(variable(container, "JAVA_TOOL_OPTIONS") ?? "");
  return [
    bytes < JAVA_8_OPTIONS_BYTES ? undefined : `JAVA_TOOL_OPTIONS has ${bytes} bytes: Java 8 ignores it`,
  ];
}

/** Returns the seconds that a preStop hook sleeps. */
function sleepSeconds({ fields: container }: Container): number {
  const preStop = at(container, "lifecycle", "preStop");
  const command = texts(at(preStop, "exec", "command")).join(" ");
  return number(at(preStop, "sleep", "seconds")) ?? Number(/\bsleep (\d+)/.exec(command)?.[1] ?? 0);
}

/** Returns the longest time, in seconds, that the application or its proxy takes to end. */
function terminationSeconds(workload: WorkloadManifest): number {
  const applications = workload.containers.map(
    (container) =>
      sleepSeconds(container) +
      dubboSeconds(container, "dubbo.service.shutdown.wait") +
      dubboSeconds(container, "dubbo.service.shutdown.timeout"),
  );
  const config = proxyConfig(workload);
  const proxy = [config["terminationDrainDuration"], at(config, "proxyMetadata", "MINIMUM_DRAIN_DURATION")];
  return Math.max(0, ...applications, ...proxy.map((each) => durationSeconds(each) ?? 0));
}

function shortGracePeriods(mesh: ManifestMesh): Fault[] {
  return mesh.workloads.flatMap((workload) => {
    const grace = number(workload.pod["terminationGracePeriodSeconds"]) ?? 30;
    const ending = terminationSeconds(workload);
    if (grace > ending || ending === 0) return [];
    return [
      {
        object: workload.object,
        path: "spec.template.spec.terminationGracePeriodSeconds",
        message: `is ${grace}, but the pod takes up to ${ending} s to end: the kubelet kills its last calls`,
      },
    ];
  });
}

const PROBE_RULES: readonly Rule[] = [
  {
    id: "probes-set",
    severity: "error",
    text: "Pods have a liveness, a readiness and a startup probe.",
    fix: "Add httpGet probes of /live, /ready and /startup on port 22222.",
    source: "the seed, 4.1",
    faults: missingProbes,
  },
  {
    id: "probes-answered",
    severity: "error",
    text: "A probe asks at a port that a container has or at Dubbo's 22222, and there for its own path.",
    fix: "Use /live, /ready and /startup on port 22222, or a port of the container's.",
    source: "the seed, 4.1",
    faults: unansweredProbes,
  },
  {
    id: "probes-survive-mtls",
    severity: "error",
    text: "HTTP probes are answered under STRICT mTLS.",
    fix: `Take the annotation ${REWRITE} away: Istio then has its agent ask the application.`,
    source: "https://istio.io/latest/docs/ops/configuration/mesh/app-health-check/; istio/istio#26737",
    faults: plaintextProbes,
  },
];

const HARDENING_RULES: readonly Rule[] = [
  {
    id: "pod-restricted",
    severity: "error",
    text: "Containers keep Pod Security's level restricted: no root, no way to more rights, no capabilities, seccomp.",
    fix: "Set runAsNonRoot: true, allowPrivilegeEscalation: false, capabilities.drop: [ALL], seccompProfile.type: RuntimeDefault.",
    source: RESTRICTED,
    faults: (mesh) => containerFaults(mesh, unrestricted, "securityContext"),
  },
  {
    id: "pod-read-only",
    severity: "warning",
    text: "Containers do not write to their image.",
    fix: "Set readOnlyRootFilesystem: true, and mount an emptyDir where the application writes.",
    source: "https://kubernetes.io/docs/tasks/configure-pod-container/security-context/",
    faults: (mesh) =>
      containerFaults(
        mesh,
        (container, workload) => [
          contextOf(container, workload)["readOnlyRootFilesystem"] === true
            ? undefined
            : "readOnlyRootFilesystem is not true",
        ],
        "securityContext",
      ),
  },
  {
    id: "token-needed",
    severity: "warning",
    text: "Only pods that talk to the API server hold a token of it.",
    fix: "Set automountServiceAccountToken: false, or bind a role to the ServiceAccount.",
    source: "https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/",
    faults: needlessTokens,
  },
  {
    id: "service-account-own",
    severity: "warning",
    text: "Pods of the mesh have an identity of their own, by which others authorize them.",
    fix: "Create a ServiceAccount and set serviceAccountName.",
    source: "the seed, 3.2",
    faults: sharedAccounts,
  },
];

const IMAGE_RULES: readonly Rule[] = [
  {
    id: "image-not-latest",
    severity: "error",
    text: "Images have a tag or a digest that says which they are.",
    fix: "Refer to the image by digest, or by a tag that is never moved.",
    source: "https://kubernetes.io/docs/concepts/containers/images/",
    faults: (mesh) => containerFaults(mesh, latestTag, "image"),
  },
  {
    id: "image-by-digest",
    severity: "warning",
    text: "Images are referred to by digest, so that all pods run the same.",
    fix: "Write image@sha256:... in place of the tag.",
    source: "https://kubernetes.io/docs/concepts/containers/images/",
    faults: (mesh) => containerFaults(mesh, (container) => unpinnedImage(container, mesh.built), "image"),
  },
];

const LIFECYCLE_RULES: readonly Rule[] = [
  {
    id: "resources-set",
    severity: "warning",
    text: "Containers request CPU and memory, and have a limit of memory.",
    fix: "Set resources.requests of cpu and memory, and resources.limits.memory.",
    source: "https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/",
    faults: (mesh) => containerFaults(mesh, missingResources, "resources"),
  },
  {
    id: "disruption-budget",
    severity: "warning",
    text: "Of several pods a budget keeps some through evictions, and lets at least one go.",
    fix: "Add a PodDisruptionBudget with maxUnavailable: 1 that selects the pods.",
    source: "https://kubernetes.io/docs/tasks/run-application/configure-pdb/",
    faults: unbudgeted,
  },
  {
    id: "rollout-keeps-pods",
    severity: "warning",
    text: "A rollout starts a pod before it ends one.",
    fix: "Set strategy.rollingUpdate to maxUnavailable: 0 and maxSurge: 1.",
    source: "https://kubernetes.io/docs/concepts/workloads/controllers/deployment/",
    faults: lossyRollouts,
  },
  {
    id: "grace-covers-drain",
    severity: "error",
    text: "A pod has longer to end than it drains.",
    fix: "Raise terminationGracePeriodSeconds above the preStop sleep, Dubbo's shutdown waits and the proxy's drain.",
    source: "https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/",
    faults: shortGracePeriods,
  },
  {
    id: "java-options-read",
    severity: "warning",
    text: "JAVA_TOOL_OPTIONS is shorter than 1,024 bytes where it runs on Java 8, which ignores a longer one.",
    fix: "Run the application on Java 9 or later, or shorten the variable.",
    source: "JDK-8288483",
    faults: (mesh) => containerFaults(mesh, unreadOptions, "env"),
  },
];

/** Rules for pods. */
export const POD_RULES: readonly Rule[] = [
  ...PROBE_RULES,
  ...HARDENING_RULES,
  ...IMAGE_RULES,
  ...LIFECYCLE_RULES,
];
