import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

/** The fields of a package.json in use. */
const manifest = z.object({
  name: z.string().default(""),
  version: z.string().default(""),
  dependencies: z.record(z.string(), z.string()).optional(),
  devDependencies: z.record(z.string(), z.string()).optional(),
  pulumi: z
    .object({
      resource: z.boolean().default(false),
      name: z.string().optional(),
      version: z.string().optional(),
      server: z.string().default(""),
    })
    .optional(),
});

type Manifest = z.infer<typeof manifest>;

/** Reads a folder's package.json; undefined if it has none. */
export async function readManifest(folder: string): Promise<Manifest | undefined> {
  const text = await readFile(join(folder, "package.json"), "utf8").catch(() => "null");
  return manifest.safeParse(JSON.parse(text)).data;
}

/** Reads the packages at the top of a program's node_modules, which are those that it can load. */
export async function installedPackages(folder: string): Promise<readonly Manifest[]> {
  const root = join(folder, "node_modules");
  const names = await readdir(root).catch(() => []);
  const scopes = names.filter((name) => name.startsWith("@"));
  const scoped = await Promise.all(
    scopes.map(async (scope) => (await readdir(join(root, scope))).map((name) => join(scope, name))),
  );
  const read = [...names, ...scoped.flat()].map((name) => readManifest(join(root, name)));
  return (await Promise.all(read)).filter((each) => each !== undefined);
}
