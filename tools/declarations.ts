import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import prettier from "prettier";
import { z } from "zod";
import { toYaml } from "../common/yaml.ts";
import { PROJECT, settingsSchema } from "../settings/settings.ts";
import { STACK_SCHEMA, stackSchema } from "./stack-schema.ts";

const declared = z.object({
  // Absent if a key takes text or an object. Pulumi does not check the values of an untyped key.
  type: z.enum(["string", "integer", "boolean", "array", "object"]).optional(),
  description: z.string(),
  default: z.unknown().optional(),
});

// Pulumi requires each stack to set a declared key without a default. Empty text means unset here.
function declaration(schema: z.ZodType): object {
  const { type, description, default: value } = declared.parse(z.toJSONSchema(schema, { io: "input" }));
  // Pulumi requires an item type for an array.
  const items = type === "array" ? { items: { type: "object" } } : {};
  return { ...(type && { type }), ...items, description, default: value ?? "" };
}

/**
 * Returns the content of Pulumi.yaml: the project, and the configuration keys of the schema in
 * settings.ts.
 * Source: https://www.pulumi.com/docs/iac/concepts/projects/project-file/
 */
export function projectFile(): object {
  const config = Object.entries(settingsSchema.shape).map(([key, schema]) => [key, declaration(schema)]);
  return {
    name: PROJECT,
    description: "An Apache Dubbo application mesh on Kubernetes with Istio",
    license: "Apache-2.0",
    main: "index.ts",
    runtime: {
      name: "nodejs",
      options: { typescript: false, packagemanager: "npm" },
    },
    // Every resource names its provider, so that none reaches a cluster or docker engine by
    // accident.
    config: { "pulumi:disable-default-providers": ["*"], ...Object.fromEntries(config) } as object,
  };
}

/** Returns the text of Pulumi.yaml. */
export function projectFileText(): string {
  return `# Made from settings/ by \`npm run declarations\`.\n${toYaml(projectFile())}`;
}

/** Returns the formatted text of the JSON Schema of stack files. */
export async function stackSchemaText(): Promise<string> {
  const options = await prettier.resolveConfig(import.meta.filename);
  return prettier.format(JSON.stringify(stackSchema()), { ...options, parser: "json" });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const root = resolve(import.meta.dirname, "..");
  writeFileSync(resolve(root, "Pulumi.yaml"), projectFileText());
  writeFileSync(resolve(root, STACK_SCHEMA), await stackSchemaText());
}
