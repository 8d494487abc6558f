/**
 * The cluster in a stack's settings: its entries in the kubeconfig, and requests to its API server.
 */
import { readFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { request as httpsRequest, type RequestOptions } from "node:https";
import { BlockList, isIP } from "node:net";
import { homedir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import yaml from "js-yaml";
import { z } from "zod";
import { messageOf, UserError } from "./errors.ts";

const body = z.record(z.string(), z.unknown()).nullish();
const fileSchema = z.object({
  clusters: z.array(z.object({ name: z.string(), cluster: body })).nullish(),
  users: z.array(z.object({ name: z.string(), user: body })).nullish(),
  contexts: z.array(z.object({ name: z.string(), context: body })).nullish(),
});

/** A kubeconfig with all entries, or reduced to the entries of one stack. */
export interface Kubeconfig {
  readonly clusters: readonly { readonly name: string; readonly cluster: Entry }[];
  readonly users: readonly { readonly name: string; readonly user: Entry }[];
  readonly contexts: readonly { readonly name: string; readonly context: Entry }[];
}

type Entry = Readonly<Record<string, unknown>>;

/** Keys whose values are paths, relative to the folder of their file. */
const PATHS = ["certificate-authority", "client-certificate", "client-key", "tokenFile"];

function absolute(entry: Entry | null | undefined, folder: string): Entry {
  const values = Object.entries(entry ?? {});
  return Object.fromEntries(
    values.map(([key, value]) => [
      key,
      PATHS.includes(key) && typeof value === "string" ? resolve(folder, value) : value,
    ]),
  );
}

function readKubeconfig(path: string): Kubeconfig {
  const folder = dirname(path);
  const { clusters, users, contexts } = fileSchema.parse(yaml.load(readFileSync(path, "utf8")) ?? {});
  return {
    clusters: (clusters ?? []).map(({ name, cluster }) => ({ name, cluster: absolute(cluster, folder) })),
    users: (users ?? []).map(({ name, user }) => ({ name, user: absolute(user, folder) })),
    contexts: (contexts ?? []).map(({ name, context }) => ({ name, context: context ?? {} })),
  };
}

/** Returns the kubeconfig files that kubectl reads. */
function defaultPaths(): string[] {
  const listed = (process.env["KUBECONFIG"] ?? "").split(delimiter).filter((path) => path !== "");
  return listed.length > 0 ? listed : [join(homedir(), ".kube", "config")];
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

/**
 * Reads files as one kubeconfig, as kubectl does. It skips missing files unless all are missing.
 * Source: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
 */
function merged(paths: readonly string[]): Kubeconfig {
  const read: Kubeconfig[] = [];
  let missing: unknown;
  for (const path of paths) {
    try {
      read.push(readKubeconfig(path));
    } catch (error) {
      if (!isMissing(error)) throw error;
      missing ??= error;
    }
  }
  if (read.length === 0) throw missing;
  return {
    clusters: read.flatMap(({ clusters }) => clusters),
    users: read.flatMap(({ users }) => users),
    contexts: read.flatMap(({ contexts }) => contexts),
  };
}

/** The settings that select the cluster of a stack. */
export interface ClusterSettings {
  readonly cluster: "local" | "existing";
  /** kubectl context. */
  readonly context: string;
  /** Path of the kubeconfig; undefined means kubectl's default. */
  readonly kubeconfig: string | undefined;
}

function load({ cluster, kubeconfig }: ClusterSettings): Kubeconfig {
  try {
    return merged(kubeconfig === undefined ? defaultPaths() : [kubeconfig]);
  } catch (error) {
    const cause = { cause: error };
    if (cluster === "local")
      throw new UserError("the local cluster is not running", "Run `make up` first.", cause);
    const reason = error instanceof z.ZodError ? z.prettifyError(error) : messageOf(error);
    throw new UserError(`the kubeconfig cannot be read: ${reason}`, "Check its path and content.", cause);
  }
}

/**
 * Reports whether an entry of NO_PROXY exempts a host. An entry is an address, a network, a domain
 * or `*`.
 */
function exempts(entry: string, host: string): boolean {
  if (entry === "*" || entry === host) return true;
  const [network = "", prefix] = entry.split("/");
  if (prefix === undefined || isIP(host) === 0 || isIP(network) !== isIP(host))
    return host.endsWith(`.${entry.replace(/^\*?\./, "")}`);
  const family = isIP(host) === 4 ? "ipv4" : "ipv6";
  const block = new BlockList();
  block.addSubnet(network, Number(prefix), family);
  return block.check(host, family);
}

/**
 * Adds the environment's proxy to a cluster's entry. kubectl and Pulumi's provider use that proxy,
 * but the client library does not.
 */
function withProxy(cluster: Entry): Entry {
  const { env } = process;
  const proxy = env["HTTPS_PROXY"] ?? env["https_proxy"] ?? "";
  const { server, "proxy-url": own } = cluster;
  if (proxy === "" || own !== undefined || typeof server !== "string") return cluster;
  const url = URL.parse(server);
  const host = url?.hostname.replace(/^\[|\]$/g, "") ?? "";
  const exempt = (env["NO_PROXY"] ?? env["no_proxy"] ?? "").split(",").map((entry) => entry.trim());
  const loopback = ["localhost", "127.0.0.0/8", "::1/128"];
  if (url?.protocol !== "https:" || [...loopback, ...exempt].some((entry) => exempts(entry, host)))
    return cluster;
  return { ...cluster, "proxy-url": proxy.includes("://") ? proxy : `http://${proxy}` };
}

/**
 * Returns the kubeconfig of a stack, reduced to its context. If a name occurs twice, the first
 * entry counts.
 * @throws UserError if the file cannot be read, or lacks the context or its cluster
 */
export function stackKubeconfig(settings: ClusterSettings): Kubeconfig {
  const { context: name } = settings;
  const { clusters, users, contexts } = load(settings);
  const context = contexts.find((entry) => entry.name === name);
  if (context === undefined) {
    const known = contexts.map((entry) => entry.name).join(", ");
    throw new UserError(
      `the kubeconfig has no context ${name}`,
      `Choose one of: ${known} (CONTEXT=NAME, or pulumi config set -s STACK context NAME).`,
    );
  }
  const found = clusters.find((entry) => entry.name === context.context["cluster"]);
  if (found === undefined) {
    throw new UserError(
      `the kubeconfig's context ${name} refers to a cluster that it does not define`,
      "Correct the kubeconfig, or choose another context.",
    );
  }
  const cluster = {
    ...found,
    cluster: settings.cluster === "local" ? found.cluster : withProxy(found.cluster),
  };
  const user = users.find((entry) => entry.name === context.context["user"]);
  return { clusters: [cluster], users: user === undefined ? [] : [user], contexts: [context] };
}

const optional = z.string().optional();
const plainCluster = z.strictObject({
  server: z.url(),
  "certificate-authority": optional,
  "certificate-authority-data": optional,
  "insecure-skip-tls-verify": z.boolean().optional(),
  extensions: z.unknown().optional(),
});
const plainUser = z.strictObject({
  "client-certificate": optional,
  "client-certificate-data": optional,
  "client-key": optional,
  "client-key-data": optional,
  token: optional,
});

function pem(path: string | undefined, data: string | undefined): Buffer | undefined {
  if (data !== undefined) return Buffer.from(data, "base64");
  return path === undefined ? undefined : readFileSync(path);
}

/**
 * Returns options for requests with a certificate or token, or undefined if the kubeconfig needs
 * more than that.
 */
function plainOptions({ clusters, users }: Kubeconfig): RequestOptions | undefined {
  const cluster = plainCluster.safeParse(clusters[0]?.cluster);
  const user = plainUser.safeParse(users[0]?.user ?? {});
  if (!cluster.success || !user.success) return undefined;
  const [{ data: served }, { data: own }] = [cluster, user];
  const [certificate, key] = ["client-certificate", "client-key"] as const;
  return {
    ca: pem(served["certificate-authority"], served["certificate-authority-data"]),
    cert: pem(own[certificate], own[`${certificate}-data`]),
    key: pem(own[key], own[`${key}-data`]),
    rejectUnauthorized: served["insecure-skip-tls-verify"] !== true,
    ...(own.token !== undefined && { headers: { authorization: `Bearer ${own.token}` } }),
  };
}

/**
 * Returns options for requests with any other credentials, such as a cloud's plugin. Loading the
 * client library takes half a second.
 */
async function clientOptions(kubeconfig: Kubeconfig): Promise<RequestOptions> {
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  config.loadFromString(JSON.stringify(kubeconfig));
  config.setCurrentContext(kubeconfig.contexts[0]?.name ?? "");
  const options: RequestOptions = {};
  await config.applyToHTTPSOptions(options);
  return options;
}

/** Longest time without data from the server, ms. */
const TIMEOUT_MS = 10_000;

/** Answer of an API server. */
export interface ApiAnswer {
  /** HTTP status. */
  readonly code: number;
  readonly body: string;
}

/** Error for a 403 of the cluster: the account lacks the right. */
export class Forbidden extends Error {
  override readonly name = "Forbidden";
}

const status = z.object({ message: z.string() });

/** Parses JSON. Returns undefined for other text. */
export function parseJson(content: string): unknown {
  try {
    return JSON.parse(content);
  } catch {
    return undefined;
  }
}

/** Returns the API server's message of a failed answer, or its status. */
function reasonOf({ code, body }: ApiAnswer): string {
  const said = status.safeParse(parseJson(body));
  return `HTTP ${code}${said.success ? `: ${said.data.message}` : ""}`;
}

/** Client that reads from the API server of a stack's cluster. */
export class ApiServer {
  readonly #context: string;
  readonly #server: string;
  readonly #options: RequestOptions;

  private constructor(context: string, server: string, options: RequestOptions) {
    this.#context = context;
    this.#server = server;
    this.#options = options;
  }

  /**
   * Returns the client for a stack.
   * @throws UserError if the kubeconfig lacks the context or cannot be used
   */
  static async of(settings: ClusterSettings): Promise<ApiServer> {
    const { context } = settings;
    const kubeconfig = stackKubeconfig(settings);
    const server = String(kubeconfig.clusters[0]?.cluster["server"]).replace(/\/$/, "");
    try {
      return new ApiServer(context, server, plainOptions(kubeconfig) ?? (await clientOptions(kubeconfig)));
    } catch (error) {
      throw new UserError(
        `the kubeconfig's context ${context} cannot be used: ${messageOf(error)}`,
        `Correct its cluster or user: kubectl version --context ${context} must answer.`,
        { cause: error },
      );
    }
  }

  /**
   * Sends a GET request.
   * @throws Error if the server does not answer
   */
  async get(path: string): Promise<ApiAnswer> {
    const url = new URL(`${this.#server}${path}`);
    const request = url.protocol === "http:" ? httpRequest : httpsRequest;
    return new Promise((done, fail) => {
      const sent = request(url, { ...this.#options, timeout: TIMEOUT_MS }, (response) => {
        text(response).then((content) => {
          done({ code: response.statusCode ?? 0, body: content });
        }, fail);
      });
      sent.on("error", fail);
      sent.on("timeout", () => sent.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
      sent.end();
    });
  }

  /**
   * Reads an answer as text.
   * @param absent status codes that mean that there is nothing to read
   * @returns undefined for a status code in `absent`
   * @throws Forbidden if the account lacks the right; UserError if the server refuses or does not
   * answer
   */
  async text(path: string, absent: readonly number[] = [404]): Promise<string | undefined> {
    const answer = await this.get(path).catch((error: unknown) => {
      throw this.#unreadable(messageOf(error), error);
    });
    if (answer.code === 403) throw new Forbidden(reasonOf(answer));
    if (absent.includes(answer.code)) return undefined;
    if (answer.code !== 200) throw this.#unreadable(reasonOf(answer));
    return answer.body;
  }

  /**
   * Reads an object or a list; undefined if the server does not have it.
   * @throws as {@link ApiServer.text} does, and UserError for an answer that breaks the schema
   */
  async object<T>(schema: z.ZodType<T>, path: string): Promise<T | undefined> {
    const body = await this.text(path);
    if (body === undefined) return undefined;
    const parsed = schema.safeParse(parseJson(body));
    if (parsed.success) return parsed.data;
    throw this.#unreadable(`${path} has an unexpected answer`, parsed.error);
  }

  #unreadable(reason: string, cause?: unknown): UserError {
    return new UserError(
      `the cluster of context ${this.#context} refuses or does not answer: ${reason.split("\n")[0] ?? ""}`,
      "Check that it runs and that the context's credentials are valid (kubectl version), then run the command again.",
      { cause },
    );
  }
}
