/** The cluster's certificate authority and what it signs, by openssl. Made once; `cluster down` forgets them. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { API_SERVICE_IP, CONTEXT, KUBECONFIG, NODE_IP, NODE_NAME, STATE_DIR } from "./local.ts";

const DAYS = "3650";
/** The folder of all keys and certificates. */
export const PKI_DIR = `${STATE_DIR}/pki`;

/** A holder of a certificate. Kubernetes takes the organization for the group. */
interface Holder {
  readonly name: string;
  readonly subject: string;
  /** Names it may serve under. */
  readonly alternatives?: readonly string[];
}

const HOLDERS: readonly Holder[] = [
  {
    name: "server", // of etcd and of the API server
    subject: "/CN=kube-apiserver",
    alternatives: [
      ...["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(
        (name) => `DNS:${name}`,
      ),
      "DNS:kubernetes.default.svc.cluster.local",
      ...["127.0.0.1", NODE_IP, API_SERVICE_IP].map((address) => `IP:${address}`),
    ],
  },
  { name: "admin", subject: "/O=system:masters/CN=dubbo-mesh-admin" },
  // Its controllers have no role each: that takes a service account and a token for each, at each start.
  { name: "kube-controller-manager", subject: "/O=system:masters/CN=system:kube-controller-manager" },
  { name: "kube-scheduler", subject: "/CN=system:kube-scheduler" },
  { name: "kube-proxy", subject: "/CN=system:kube-proxy" },
  { name: "coredns", subject: "/CN=dubbo-mesh-dns" },
  {
    name: "kubelet",
    subject: `/O=system:nodes/CN=system:node:${NODE_NAME}`,
    alternatives: [`DNS:${NODE_NAME}`, `IP:${NODE_IP}`],
  },
];

// openssl reads a file of settings in any case; this one adds nothing to what the command line says.
const OPENSSL_SETTINGS = "[req]\ndistinguished_name = dn\n[dn]\n";
const KEY_OPTIONS = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", DAYS];

/** What openssl is called with for a holder's key and certificate, in the folder of the authority. */
export function certificateArguments(holder: Holder): string[] {
  const extensions = [
    "basicConstraints=critical,CA:FALSE",
    "keyUsage=critical,digitalSignature",
    "extendedKeyUsage=clientAuth,serverAuth",
    ...(holder.alternatives ? [`subjectAltName=${holder.alternatives.join(",")}`] : []),
  ].flatMap((extension) => ["-addext", extension]);
  const files = ["-keyout", `${holder.name}.key`, "-out", `${holder.name}.crt`];
  const authority = ["-CA", "ca.crt", "-CAkey", "ca.key"];
  return [
    "req",
    "-x509",
    "-config",
    "settings",
    ...KEY_OPTIONS,
    "-subj",
    holder.subject,
    ...files,
    ...authority,
    ...extensions,
  ];
}

/** Makes keys and certificates unless they are there. */
export async function makeCertificates(): Promise<void> {
  if (existsSync(PKI_DIR)) return;
  mkdirSync(STATE_DIR, { recursive: true, mode: 0o755 });
  const cwd = mkdtempSync(join(STATE_DIR, "pki.tmp"));
  try {
    writeFileSync(join(cwd, "settings"), OPENSSL_SETTINGS);
    const authority = [
      "-addext",
      "basicConstraints=critical,CA:TRUE",
      "-addext",
      "keyUsage=critical,keyCertSign,cRLSign",
    ];
    const files = ["-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=dubbo-mesh"];
    await execa("openssl", ["req", "-x509", "-config", "settings", ...KEY_OPTIONS, ...files, ...authority], {
      cwd,
    });
    await Promise.all(HOLDERS.map((holder) => execa("openssl", certificateArguments(holder), { cwd })));
    await execa(
      "openssl",
      ["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "service-accounts.key"],
      { cwd },
    );
    await execa("openssl", ["ec", "-in", "service-accounts.key", "-pubout", "-out", "service-accounts.pub"], {
      cwd,
    });
    renameSync(cwd, PKI_DIR);
  } finally {
    rmSync(cwd, { recursive: true, force: true });
  }
}

/** The file of a certificate or key. */
export function pki(name: string): string {
  return join(PKI_DIR, name);
}

function kubeconfig(holder: string): string {
  const data = (name: string): string => readFileSync(pki(name)).toString("base64");
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      {
        name: CONTEXT,
        cluster: { server: `https://${NODE_IP}:6443`, "certificate-authority-data": data("ca.crt") },
      },
    ],
    users: [
      {
        name: holder,
        user: { "client-certificate-data": data(`${holder}.crt`), "client-key-data": data(`${holder}.key`) },
      },
    ],
    contexts: [{ name: CONTEXT, context: { cluster: CONTEXT, user: holder } }],
    "current-context": CONTEXT,
  });
}

/** The kubeconfig of a component. */
export function kubeconfigOf(component: string): string {
  return join(STATE_DIR, "config", `${component}.kubeconfig`);
}

/** Writes a kubeconfig for each component and, at KUBECONFIG, for the administrator. */
export function writeKubeconfigs(): void {
  mkdirSync(join(STATE_DIR, "config"), { recursive: true });
  for (const { name } of HOLDERS) {
    if (name !== "server" && name !== "admin") writePrivate(kubeconfigOf(name), kubeconfig(name));
  }
  writePrivate(KUBECONFIG, kubeconfig("admin"));
}

function writePrivate(file: string, text: string): void {
  writeFileSync(`${file}.tmp`, text, { mode: 0o600 });
  renameSync(`${file}.tmp`, file);
}
