/**
 * Finds the configured registries, and fetches from them.
 *
 * Deno knows both addresses (from its defaults, `JSR_URL`, `NPM_CONFIG_REGISTRY` and `.npmrc`): with an empty cache and
 * without permission to fetch, its error names the address that it would have fetched first.
 *
 * @module
 */
import type { Tarball } from "./recipes.ts";

/** JSR responds in a fraction of this time, or never if a firewall blocks it. */
const PROBE_TIMEOUT_MS = 3_000;
/** Enough for the larger of the two tarballs (5.6 MB) over a slow connection. */
const FETCH_TIMEOUT_MS = 120_000;

/** The address of the configured JSR registry, which serves the files of packages. */
export async function findJsr(): Promise<URL> {
  return new URL("../../", await firstAddress("jsr:@std/log"));
}

/** Why JSR cannot be used; `undefined` if it responds. */
export async function jsrProblem(jsr: URL): Promise<string | undefined> {
  try {
    const response = await fetch(new URL("@std/log/meta.json", jsr), {
      signal: AbortSignal.timeout(PROBE_TIMEOUT_MS),
    });
    const body = await response.text();
    if (!response.ok) return `${jsr} answers ${response.status}`;
    // A captive portal responds too, but not with the versions of a package.
    return "versions" in JSON.parse(body) ? undefined : `${jsr} does not answer as JSR does`;
  } catch (error) {
    return reason(error);
  }
}

/**
 * Fetches a tarball from the configured npm registry, and checks its content.
 *
 * If that fails, tries npm if it is installed: it can log in to a registry that requires it.
 */
export async function fetchTarball(tarball: Tarball): Promise<Uint8Array<ArrayBuffer>> {
  const problems: string[] = [];
  for (const attempt of [fetchFromRegistry, packWithNpm]) {
    try {
      const bytes = await attempt(tarball);
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-512", bytes)).toBase64();
      if (digest === tarball.sha512) return bytes;
      problems.push(`${tarball.name}@${tarball.version} is not what it was: its sha512 is ${digest}`);
    } catch (error) {
      problems.push(reason(error));
    }
  }
  throw new Error(problems.join("; "));
}

async function fetchFromRegistry({ name, version }: Tarball): Promise<Uint8Array<ArrayBuffer>> {
  const registry = new URL("./", await firstAddress(`npm:${name}@${version}`));
  const address = new URL(`${name}/-/${name}-${version}.tgz`, registry);
  const response = await fetch(address, { signal: AbortSignal.timeout(FETCH_TIMEOUT_MS) });
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (!response.ok) throw new Error(`${address} answers ${response.status}`);
  return bytes;
}

async function packWithNpm({ name, version }: Tarball): Promise<Uint8Array<ArrayBuffer>> {
  const folder = await Deno.makeTempDir({ prefix: "lbproxy-vendor-" });
  try {
    const { success, stderr } = await new Deno.Command("npm", {
      args: ["pack", `${name}@${version}`, "--ignore-scripts", "--fetch-retries=0", "--silent"],
      cwd: folder,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
      signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
    }).output();
    if (!success) {
      throw new Error(`npm pack ${name}@${version} fails ${new TextDecoder().decode(stderr).trim()}`.trim());
    }
    return await Deno.readFile(`${folder}/${name}-${version}.tgz`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The first address that Deno would fetch for a package. */
async function firstAddress(specifier: string): Promise<URL> {
  const emptyCache = await Deno.makeTempDir({ prefix: "lbproxy-vendor-" });
  try {
    const { stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-config", "--no-lock", "--cached-only", specifier],
      env: { DENO_DIR: emptyCache, NO_COLOR: "1" },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).output();
    const message = new TextDecoder().decode(stderr);
    const address = /https?:\/\/[^\s"']+/.exec(message)?.[0];
    if (address === undefined) {
      throw new Error(`Deno does not say where ${specifier} comes from: ${message.trim()}`);
    }
    return new URL(address);
  } finally {
    await Deno.remove(emptyCache, { recursive: true });
  }
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // The reason of a failed connection is in the cause.
  return error.cause instanceof Error ? error.cause.message : error.message;
}
