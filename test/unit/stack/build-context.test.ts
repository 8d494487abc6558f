import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { contextImage } from "../../../stack/build-context.ts";
import { UserError } from "../../../common/errors.ts";
import { declaredBy } from "../program.ts";

const PROJECT = resolve(import.meta.dirname, "../../..");
const OPTIONS = { baseImage: "node:22-trixie-slim", platform: "linux/amd64" };
const FILES = { Dockerfile: "FROM scratch\nCOPY . /\n", "main.js": "1", "lib/a.js": "2" };

const scratch = mkdtempSync(join(tmpdir(), "dubbo-mesh-context-"));
afterAll(() => {
  rmSync(scratch, { recursive: true });
});

/** Creates a folder with these files, and returns its path as a stack would have it. */
function folder(files: Readonly<Record<string, string>>): { path: string; context: string } {
  const path = mkdtempSync(join(scratch, "context-"));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(path, name, ".."), { recursive: true });
    writeFileSync(join(path, name), text);
  }
  return { path, context: relative(PROJECT, path) };
}

function tagOf(files: Readonly<Record<string, string>>, options = OPTIONS): string {
  return contextImage({ context: folder(files).context }, options).tag;
}

describe("an image of the user", () => {
  it("is built from its folder by the Dockerfile in it", () => {
    const { context } = folder(FILES);
    expect(contextImage({ context }, OPTIONS)).toEqual({
      context,
      dockerfile: `${context}/Dockerfile`,
      tag: expect.stringMatching(/^[0-9a-f]{16}$/) as string,
    });
  });

  it("has a tag that depends on content, name and platform, but not on the folder's place", () => {
    const reversed = Object.fromEntries(Object.entries(FILES).reverse());
    expect(tagOf(reversed)).toBe(tagOf(FILES));
    const { Dockerfile, ...others } = FILES;
    const tags = [
      tagOf(FILES),
      tagOf({ ...FILES, "lib/a.js": "3" }),
      tagOf({ ...FILES, "lib/b.js": "2" }),
      tagOf({ Dockerfile, "main.js": "1", "lib/b.js": "2" }),
      tagOf({ Dockerfile, "main.js": "1", "a.js": "2" }),
      tagOf({ ...others, Dockerfile: "FROM scratch\n" }),
      tagOf(FILES, { ...OPTIONS, platform: "linux/arm64" }),
      tagOf(FILES, { ...OPTIONS, baseImage: "node:23" }),
      // The end of a name must not be confused with the start of a content.
      tagOf({ Dockerfile, "main.j": "s1", "lib/a.js": "2" }),
      tagOf({ Dockerfile, "main.js": "12", "lib/a.js": "" }),
    ];
    expect(new Set(tags).size).toBe(tags.length);
  });

  it("changes its tag with a file's name and content", () => {
    const { path, context } = folder(FILES);
    const tag = (): string => contextImage({ context }, OPTIONS).tag;
    const before = tag();
    renameSync(join(path, "main.js"), join(path, "index.js"));
    const renamed = tag();
    writeFileSync(join(path, "index.js"), "other");
    expect(new Set([before, renamed, tag()]).size).toBe(3);
  });

  it("changes its tag with a file's mode, and with a link but not its target", () => {
    const { path, context } = folder(FILES);
    const tags = [contextImage({ context }, OPTIONS).tag];
    chmodSync(join(path, "main.js"), 0o755);
    tags.push(contextImage({ context }, OPTIONS).tag);
    for (const target of ["nowhere", "lib"]) {
      rmSync(join(path, "link"), { force: true });
      symlinkSync(target, join(path, "link"));
      tags.push(contextImage({ context }, OPTIONS).tag);
    }
    expect(new Set(tags).size).toBe(4);
  });

  it("may have its Dockerfile elsewhere, which changes its tag too", () => {
    const { context } = folder({ "main.js": "1" });
    const place = folder({ "app.Dockerfile": "FROM scratch\n" });
    const dockerfile = `${place.context}/app.Dockerfile`;
    const before = contextImage({ context, dockerfile }, OPTIONS);
    expect(before).toMatchObject({ context, dockerfile });
    writeFileSync(join(place.path, "app.Dockerfile"), "FROM busybox\n");
    expect(contextImage({ context, dockerfile }, OPTIONS).tag).not.toBe(before.tag);
  });

  it.each<[string, () => { context: string; dockerfile?: string }, string, string]>([
    ["a folder", () => ({ context: "no/such/folder" }), "ENOENT", "no/such/folder"],
    ["a folder, but a file", () => ({ context: "package.json" }), "ENOTDIR", "package.json"],
    ["a Dockerfile in it", () => ({ context: "test/unit/apps" }), "ENOENT", "test/unit/apps/Dockerfile"],
    [
      "the Dockerfile that is named",
      () => ({ context: folder(FILES).context, dockerfile: "no.Dockerfile" }),
      "ENOENT",
      "no.Dockerfile",
    ],
  ])("is one error if it is not %s", (_what, build, code, missing) => {
    const given = build();
    const call = (): unknown => contextImage(given, OPTIONS);
    expect(call).toThrow(UserError);
    expect(call).toThrow(
      expect.objectContaining({
        message: `the image's build context ${given.context} cannot be read: ${code} ${join(PROJECT, missing)}`,
        fix: "Set build.context to a folder of the project, and build.dockerfile to a Dockerfile if it has none.",
      }),
    );
  });

  it("is built with docker's default network, and runs in its Deployment", async () => {
    const { context } = folder(FILES);
    const { tag } = contextImage({ context }, OPTIONS);
    const mine = { name: "mine", port: 50051, offers: ["my.Service"], build: { context } };
    const { images, objects } = await declaredBy({
      context: "minikube",
      registry: "r.test/org",
      services: [mine],
    });
    const reference = `r.test/org/mine:${tag}`;
    expect(images).toEqual([
      {
        reference,
        context,
        dockerfile: `${context}/Dockerfile`,
        platform: OPTIONS.platform,
        args: { BASE_IMAGE: "node:22-trixie-slim", SOURCE_DATE_EPOCH: "0" },
        network: "default",
      },
    ]);
    const deployments = objects.filter(({ kind }) => kind === "Deployment");
    expect(deployments.map(({ metadata }) => metadata.name)).toEqual(["mine-v1"]);
    expect(JSON.stringify(deployments)).toContain(`"image":"${reference}"`);
  });
});
