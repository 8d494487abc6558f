/** Weights of versions in the text of a stack file. */
import { isDeepStrictEqual } from "node:util";
import { Document, isMap, isScalar, isSeq, type Node, parseDocument, type Scalar, type YAMLMap } from "yaml";
import { UserError } from "../common/errors.ts";
import { PROJECT } from "../settings/settings.ts";

/** Weights by version, percent. They add up to 100. */
export type Weights = Readonly<Record<string, number>>;

/** Replacement of a part of a text. */
interface Splice {
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

function rangeOf(node: Node): [number, number] {
  const [from = 0, to = 0] = node.range ?? [];
  return [from, to];
}

function unwritable(file: string, service: string): UserError {
  return new UserError(
    `the weights of ${service} cannot be written to ${file}: its versions are not plain YAML maps, or use anchors`,
    "List each version as a map, without anchors, aliases or JSON text. Or use WRITE=0, and edit the weights by hand.",
  );
}

/** Returns the path of a service's versions in a stack file. */
function pathOf(document: Document, index: number): (string | number)[] {
  const full = ["config", `${PROJECT}:services`];
  return [...(document.hasIn(full) ? full : ["config", "services"]), index, "versions"];
}

/** Returns the versions at a path that are YAML maps. */
function versionsAt(document: Document, path: (string | number)[]): YAMLMap[] {
  const versions = document.getIn(path);
  return isSeq(versions) ? versions.items.filter((item) => isMap(item)) : [];
}

/** Returns the end of the line at `from`, without its line break. */
function endOfLine(text: string, from: number): number {
  const end = text.slice(from).search(/\r?\n|$/);
  return from + end;
}

/** Returns the insertion of a weight after a version's name, in the style of the map. */
function insertion(text: string, version: YAMLMap, name: Scalar, weight: number): Splice {
  const [, end] = rangeOf(name);
  if (version.flow === true) return { from: end, to: end, text: `, weight: ${weight}` };
  const [start] = rangeOf(version);
  const column = start - (text.lastIndexOf("\n", start) + 1);
  const at = endOfLine(text, end);
  const lineBreak = text.includes("\r\n") ? "\r\n" : "\n";
  return { from: at, to: at, text: `${lineBreak}${" ".repeat(column)}weight: ${weight}` };
}

function spliceOf(text: string, version: YAMLMap, weights: Weights): Splice | undefined {
  const [name, given] = [version.get("name", true), version.get("weight", true)];
  if (!isScalar(name)) return undefined;
  const weight = weights[String(name.value)];
  if (weight === undefined) return undefined;
  if (given === undefined) return insertion(text, version, name, weight);
  if (!isScalar(given)) return undefined;
  const [from, to] = rangeOf(given);
  return { from, to, text: `${weight}` };
}

function applied(text: string, splices: readonly Splice[]): string {
  return [...splices]
    .sort((a, b) => b.from - a.from)
    .reduce((rest, splice) => rest.slice(0, splice.from) + splice.text + rest.slice(splice.to), text);
}

/** Returns the content of a document. Aliases are copies, not references. */
function contentOf(document: Document): unknown {
  return JSON.parse(JSON.stringify(document.toJS({ maxAliasCount: -1 })));
}

/** Returns the content of a document with other weights, and nothing else changed. */
function contentWith(document: Document, path: (string | number)[], weights: Weights): unknown {
  const copy = new Document(contentOf(document));
  for (const [index, version] of versionsAt(copy, path).entries()) {
    copy.setIn([...path, index, "weight"], weights[String(version.get("name"))]);
  }
  return contentOf(copy);
}

/**
 * Returns the text of a stack file with other weights. Everything else stays the same, comments and
 * line breaks included.
 * @param file name of the file, for errors
 * @param service the service, and its index in the list of services
 * @throws UserError if the file does not list exactly these versions, each as a YAML map
 */
export function withWeights(
  text: string,
  file: string,
  service: { readonly name: string; readonly index: number },
  weights: Weights,
): string {
  const document = parseDocument(text);
  const path = pathOf(document, service.index);
  const versions = versionsAt(document, path);
  const splices = versions.flatMap((version) => spliceOf(text, version, weights) ?? []);
  const count = Object.keys(weights).length;
  if (versions.length !== count || splices.length !== count) throw unwritable(file, service.name);
  const changed = applied(text, splices);
  // An anchor or alias would change other parts of the file, too.
  if (!isDeepStrictEqual(contentOf(parseDocument(changed)), contentWith(document, path, weights)))
    throw unwritable(file, service.name);
  return changed;
}
