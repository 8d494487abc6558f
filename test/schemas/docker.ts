// Reads the schema of Docker's Image from its SDK, because no package contains it.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { z } from "zod";
import type { Schema } from "./strict.ts";

const SDK = new URL("../../node_modules/@pulumi/docker/", import.meta.url);
const FILES = ["image.d.ts", "types/input.d.ts", "image.js"] as const;
const packageJson = z.object({ name: z.string(), version: z.string(), license: z.string() });

/** Schema of one resource. */
export const resourceSchema = z.object({
  header: z.object({ source: z.string(), path: z.string(), licence: z.string(), command: z.string() }),
  type: z.string(),
  inputs: z.record(z.string(), z.unknown()),
  outputs: z.record(z.string(), z.unknown()),
});

export type ResourceSchema = z.infer<typeof resourceSchema>;

/** Interfaces and classes by name. */
type Declarations = ReadonlyMap<string, ts.InterfaceDeclaration | ts.ClassDeclaration>;

async function parse(path: string): Promise<ts.SourceFile> {
  const text = await readFile(new URL(path, SDK), "utf8");
  return ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
}

function isUndefined(node: ts.TypeNode): boolean {
  return node.kind === ts.SyntaxKind.UndefinedKeyword;
}

/** Returns the type within `pulumi.Input<T | undefined>`. */
function unwrapped(node: ts.TypeNode): ts.TypeNode {
  const [inner] = ts.isTypeReferenceNode(node) ? (node.typeArguments ?? []) : [];
  if (inner !== undefined) return unwrapped(inner);
  const some = ts.isUnionTypeNode(node) ? node.types.find((type) => !isUndefined(type)) : undefined;
  return some === undefined ? node : unwrapped(some);
}

function schemaOf(node: ts.TypeNode, declarations: Declarations): Schema {
  const type = unwrapped(node);
  if (type.kind === ts.SyntaxKind.StringKeyword) return { type: "string" };
  if (type.kind === ts.SyntaxKind.BooleanKeyword) return { type: "boolean" };
  if (ts.isArrayTypeNode(type)) return { type: "array", items: schemaOf(type.elementType, declarations) };
  if (ts.isTypeLiteralNode(type)) {
    const index = type.members.find(ts.isIndexSignatureDeclaration);
    if (index !== undefined) {
      return { type: "object", additionalProperties: schemaOf(index.type, declarations) };
    }
  }
  const [, namespace, name] = /^(\w+)\.(\w+)$/.exec(type.getText()) ?? [];
  if (namespace === "enums") return { type: "string" };
  if (namespace === "inputs" && name !== undefined) return objectOf(name, declarations);
  throw new Error(`${type.getText()} has no schema here`);
}

function objectOf(name: string, declarations: Declarations): Schema {
  const declaration = declarations.get(name);
  if (declaration === undefined) throw new Error(`the SDK has no ${name}`);
  const required: string[] = [];
  const properties: Record<string, Schema> = {};
  for (const member of declaration.members) {
    const isProperty = ts.isPropertySignature(member) || ts.isPropertyDeclaration(member);
    if (!isProperty || member.type === undefined) continue;
    const property = member.name.getText();
    properties[property] = schemaOf(member.type, declarations);
    const optional = member.questionToken !== undefined || /\bundefined\b/.test(member.type.getText());
    if (!optional) required.push(property);
  }
  return { type: "object", required, properties, additionalProperties: false };
}

/**
 * Returns the schema of the image.
 * @param command the command that writes it
 */
export async function dockerImage(command: string): Promise<ResourceSchema> {
  const files = await Promise.all([parse("image.d.ts"), parse("types/input.d.ts")]);
  const declarations = new Map(
    files
      .flatMap(({ statements }) => [...statements])
      .filter((each) => ts.isInterfaceDeclaration(each) || ts.isClassDeclaration(each))
      .map((each) => [each.name?.text ?? "", each] as const),
  );
  const code = await readFile(new URL("image.js", SDK), "utf8");
  const [, type] = /__pulumiType = '([^']+)'/.exec(code) ?? [];
  if (type === undefined) throw new Error(`${fileURLToPath(SDK)}image.js names no type`);
  const text = await readFile(new URL("package.json", SDK), "utf8");
  const { name, version, license } = packageJson.parse(JSON.parse(text));
  const source = `https://registry.npmjs.org/${name}/-/docker-${version}.tgz`;
  return {
    header: { source, path: FILES.join(", "), licence: license, command },
    type,
    inputs: objectOf("ImageArgs", declarations),
    outputs: objectOf("Image", declarations),
  };
}
