import { isDeepStrictEqual } from "node:util";
import { createTwoFilesPatch } from "diff";
import { z } from "zod";
import { UserError } from "../../lib/errors.ts";
import { step } from "../../lib/steps.ts";
import { toYaml } from "../../lib/yaml.ts";
import { kubectl } from "../kubectl.ts";
import type { StackFile } from "../stack-file.ts";
import type { Change, Engine, Preview, Repair, UpResult } from "./engine.ts";
import { buildAndPush, pushedDigest } from "./images.ts";
import { type ImageBuild, type KubernetesObject, kubernetesObject, runProgram } from "./program.ts";
import { keepScale, transition } from "./transition.ts";
import { type Warning, warningsOf } from "./warnings.ts";

const ROLLOUT_SECONDS = 600;
const SET_ID = "applyset.kubernetes.io/id";
const SET_KINDS = "applyset.kubernetes.io/contains-group-kinds";
const SET_MEMBER = "applyset.kubernetes.io/part-of";

const objectList = z.object({ items: z.array(kubernetesObject) });

/** Kind and name of an object. */
export function targetOf({ kind, metadata }: KubernetesObject): string {
  return `${kind}/${metadata.name}`;
}

/** What the cluster adds to an object by itself, and what changes without anybody asking. */
const VOLATILE = new Set(["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"]);

/** An object as its owner wrote it, for comparison. */
export function declaredPart(object: KubernetesObject): Record<string, unknown> {
  const metadata = Object.entries(object.metadata).filter(([key]) => !VOLATILE.has(key));
  const rest = Object.entries(object).filter(([key]) => key !== "status");
  return { ...Object.fromEntries(rest), metadata: Object.fromEntries(metadata) };
}

function difference(before: KubernetesObject, after: KubernetesObject): string {
  const text = (object: KubernetesObject): string => toYaml(declaredPart(object));
  const patch = createTwoFilesPatch("before", "after", text(before), text(after), "", "", { context: 2 });
  return patch.split("\n").slice(4).join("\n").trimEnd();
}

/** The changes that lead from the objects before to those after. */
export function changesBetween(
  before: readonly KubernetesObject[],
  after: readonly KubernetesObject[],
): Change[] {
  const old = new Map(before.map((object) => [targetOf(object), object]));
  const kept = new Set(after.map(targetOf));
  const changed = after.flatMap((object): Change[] => {
    const target = targetOf(object);
    const previous = old.get(target);
    if (previous === undefined) return [{ operation: "create", target }];
    if (isDeepStrictEqual(declaredPart(previous), declaredPart(object))) return [];
    return [{ operation: "update", target, detail: difference(previous, object) }];
  });
  const gone = before.map(targetOf).filter((target) => !kept.has(target));
  return [...changed, ...gone.map((target): Change => ({ operation: "delete", target }))];
}

/** What those who call feel of what is pruned. */
function pruningWarnings(before: readonly KubernetesObject[], after: readonly KubernetesObject[]): Warning[] {
  const kept = new Set(after.map(targetOf));
  const gone = before.filter((object) => !kept.has(targetOf(object)));
  return warningsOf(
    before,
    gone.map((object) => ({ operation: "delete", object })),
  );
}

/** A value with each image that stands by tag replaced by the same image by digest. */
export function withDigests<T>(value: T, digests: ReadonlyMap<unknown, string>): T {
  const text = JSON.stringify(value, (_key, part: unknown) => digests.get(part) ?? part);
  return JSON.parse(text) as T;
}

/**
 * The way round a missing Pulumi CLI: the same program, its objects applied by kubectl as one ApplySet, which prunes
 * what is not declared any more. It keeps no state beside the cluster and compares with the cluster alone.
 */
export class KubectlEngine implements Engine {
  readonly name = "kubectl";
  readonly #file: StackFile;

  constructor(file: StackFile) {
    this.#file = file;
  }

  async up(): Promise<UpResult> {
    const declared = await runProgram(this.#file);
    const digests = new Map<unknown, string>();
    for (const image of declared.images) {
      const { directory, settings } = this.#file;
      digests.set(image.reference, await buildAndPush(image, directory, settings.dockerHost));
    }
    const before = await this.#present();
    const objects = keepScale(withDigests(declared.objects, digests), before);
    const first = transition(objects, before);
    if (first !== undefined) await this.#applyFirst(first);
    const changes = await step("apply the objects", () => this.apply(objects, before));
    await step("wait for the pods", () => this.#rolledOut(objects));
    return { outputs: withDigests(declared.outputs, digests), changes };
  }

  async preview(): Promise<Preview> {
    const { images, objects } = await runProgram(this.#file);
    if ((await this.#namespace()).length === 0) {
      const changes = objects.map((object): Change => ({ operation: "create", target: targetOf(object) }));
      return { changes, warnings: await this.#leftBehind() };
    }
    const before = await this.#present();
    const pushed = withDigests(objects, await this.#pushed(images));
    const changes = await this.apply(keepScale(pushed, before), before, ["--dry-run=server"]);
    return { changes, warnings: pruningWarnings(before, objects) };
  }

  async warnings(): Promise<readonly Warning[]> {
    const { objects } = await runProgram(this.#file);
    const before = await this.#present();
    return before.length === 0 ? this.#leftBehind() : pruningWarnings(before, objects);
  }

  /** It protects nothing: there is no state to note it in. */
  async unprotect(): Promise<void> {
    return Promise.resolve();
  }

  /** Namespaces that this stack has made under other names: it removes nothing outside of its own. */
  async #leftBehind(): Promise<Warning[]> {
    const found = await this.#kubectl(["get", "namespaces", "--show-managed-fields", "-o", "json"]);
    const { items } = managedList.parse(JSON.parse(found));
    const own = items.filter(({ metadata }) =>
      metadata.managedFields.some(({ manager }) => manager === this.#manager),
    );
    return own.map(({ metadata: { name } }) => ({
      target: `Namespace/${name}`,
      text:
        `${name} stays with all that runs in it: this engine removes nothing outside of ${this.#file.settings.namespace}, and changes nothing there ` +
        `any more. Calls to its addresses go on, to what runs there now; delete it when nobody makes any.`,
    }));
  }

  /** The cluster is compared with what the program declares: there is no other record of what `up` left. */
  async drift(): Promise<readonly Change[]> {
    return (await this.preview()).changes;
  }

  async repair(): Promise<Repair | undefined> {
    return Promise.resolve(undefined);
  }

  async down(): Promise<void> {
    const { objects } = await runProgram(this.#file);
    if ((await this.#namespace()).length === 0) return;
    const reversed = [...objects].reverse();
    const remove = ["delete", "--ignore-not-found", "--wait", "--cascade=foreground", "-f", "-"];
    await step("remove the objects", () =>
      this.#kubectl(remove, toList(reversed.filter(({ kind }) => kind !== "Namespace"))),
    );
    // A namespace whose pods still drain is looked at again only after half of their grace period: it goes when they are gone.
    await step("remove the namespace", () =>
      this.#kubectl(remove, toList(reversed.filter(({ kind }) => kind === "Namespace"))),
    );
  }

  #kubectl(args: readonly string[], input?: string): Promise<string> {
    return kubectl(this.#file.settings, args, input);
  }

  /** Waits until every Deployment runs as declared, as Pulumi's engine does. */
  async #rolledOut(objects: readonly KubernetesObject[]): Promise<void> {
    const deployments = objects
      .filter(({ kind }) => kind === "Deployment")
      .map(({ metadata }) => metadata.name);
    const { namespace } = this.#file.settings;
    const wait = ["rollout", "status", `--timeout=${ROLLOUT_SECONDS}s`, "--namespace", namespace];
    for (const name of deployments) await this.#kubectl([...wait, `deployment/${name}`]);
  }

  /** Applies these of the stack's objects, which go on to be of its set, prunes nothing, and waits for the pods. */
  async #applyFirst(objects: readonly KubernetesObject[]): Promise<void> {
    const parent = await this.#setParent();
    const label = parent === undefined ? {} : { [SET_MEMBER]: parent.metadata.labels[SET_ID] };
    const members = objects
      .filter(({ kind }) => kind !== "Namespace")
      .map(({ metadata, ...rest }) => ({
        ...rest,
        metadata: { ...metadata, labels: { ...(metadata["labels"] as object | undefined), ...label } },
      }));
    const apply = [...this.#server, "--namespace", this.#file.settings.namespace, "-f", "-"];
    await step("apply the pods first", () => this.#kubectl(apply, toList(members)));
    await step("wait for the pods", () => this.#rolledOut(objects));
  }

  /**
   * Applies the objects as the stack's whole set, or lets the server try it, and tells what is changed by it.
   * @param known the stack's objects that the cluster has (default: they are asked for)
   */
  async apply(
    objects: readonly KubernetesObject[],
    known?: readonly KubernetesObject[],
    flags: readonly string[] = [],
  ): Promise<Change[]> {
    const before = known ?? (await this.#present());
    const server = [...this.#server, ...flags];
    const namespaces = objects.filter(({ kind }) => kind === "Namespace");
    const members = objects.filter(({ kind }) => kind !== "Namespace");
    // The set's parent lies in the namespace, which therefore is no member of the set and comes before it.
    const namespace = await this.#kubectl([...server, "-f", "-"], toList(namespaces));
    const pruning = ["--namespace", this.#file.settings.namespace, "--prune", `--applyset=${this.#parent}`];
    const set = await this.#kubectl([...server, ...pruning, "-f", "-"], toList(members));
    return changesBetween(before, [...parseFirst(namespace), ...parseFirst(set)]);
  }

  get #server(): string[] {
    const manager = `--field-manager=${this.#manager}`;
    return ["apply", "--server-side", "--force-conflicts", manager, "-o", "json"];
  }

  get #manager(): string {
    return `dubbo-mesh-${this.#file.stack}`;
  }

  get #parent(): string {
    return `configmap/${this.#manager}`;
  }

  /** The digests of those images that were pushed before: what runs stands by digest, and is no change. */
  async #pushed(images: readonly ImageBuild[]): Promise<Map<string, string>> {
    const { directory, settings } = this.#file;
    const digests = new Map<string, string>();
    for (const image of images) {
      const digest = await pushedDigest(image, directory, settings.dockerHost);
      if (digest !== undefined) digests.set(image.reference, digest);
    }
    return digests;
  }

  /** The stack's objects that the cluster has. */
  async #present(): Promise<KubernetesObject[]> {
    const namespace = await this.#namespace();
    return namespace.length === 0 ? [] : [...namespace, ...(await this.#members())];
  }

  /** The namespace, if there is one. It must be the stack's own: `down` removes it with all that is in it. */
  async #namespace(): Promise<KubernetesObject[]> {
    const { context, namespace } = this.#file.settings;
    const found = await this.#kubectl([
      "get",
      "namespace",
      namespace,
      "--ignore-not-found",
      "--show-managed-fields",
      "-o",
      "json",
    ]);
    if (found === "") return [];
    const { managedFields } = managed.parse(JSON.parse(found)).metadata;
    if (managedFields.some(({ manager }) => manager === this.#manager)) return parseFirst(found);
    throw new UserError(
      `context ${context} has a namespace ${namespace} that stack ${this.#file.stack} has not made`,
      "Set another namespace (dubbo-mesh:namespace), or delete that one if nobody needs it.",
    );
  }

  get #inNamespace(): string[] {
    return ["--namespace", this.#file.settings.namespace, "-o", "json"];
  }

  /** The set's parent, if there is one. */
  async #setParent(): Promise<z.infer<typeof setParent> | undefined> {
    const found = await this.#kubectl(["get", this.#parent, "--ignore-not-found", ...this.#inNamespace]);
    return found === "" ? undefined : setParent.parse(JSON.parse(found));
  }

  async #members(): Promise<KubernetesObject[]> {
    const parent = await this.#setParent();
    if (parent === undefined) return [];
    const { metadata } = parent;
    const kinds = metadata.annotations[SET_KINDS];
    if (kinds === "") return [];
    const selector = `--selector=${SET_MEMBER}=${metadata.labels[SET_ID]}`;
    return parseFirst(await this.#kubectl(["get", kinds, selector, ...this.#inNamespace]));
  }
}

const managed = z.object({
  metadata: z.object({
    name: z.string(),
    managedFields: z.array(z.object({ manager: z.string() })).default([]),
  }),
});
const managedList = z.object({ items: z.array(managed) });

const setParent = z.object({
  metadata: z.object({
    labels: z.object({ [SET_ID]: z.string() }),
    annotations: z.object({ [SET_KINDS]: z.string() }),
  }),
});

function toList(objects: readonly KubernetesObject[]): string {
  return JSON.stringify({ apiVersion: "v1", kind: "List", items: objects });
}

/** The objects that kubectl printed first: one, or a list. After them it prints, as documents of their own, those it pruned. */
function parseFirst(text: string): KubernetesObject[] {
  const [first = ""] = text.split(/(?<=^\})\n(?=\{)/m);
  const parsed: unknown = JSON.parse(first);
  const list = objectList.safeParse(parsed);
  return list.success ? list.data.items : [kubernetesObject.parse(parsed)];
}
