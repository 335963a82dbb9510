/** Loads modules anew, together with the local modules that they import. */

import { createHash } from "node:crypto";
import * as nodeModule from "node:module";
import { fileURLToPath } from "node:url";

/** A module, and where it is from. */
interface LoadedModule {
  readonly module: Record<string, unknown>;
  readonly sources: ModuleSources;
}

/** What stood in local files, by their paths. */
export type ModuleTexts = Readonly<Record<string, string>>;

/** What a module was made of. */
export interface ModuleSources {
  /** Paths of the files: the module's own, and those of local modules that it imports, directly or not. */
  readonly files: readonly string[];
  /** SHA-256 of the files in hexadecimal; of the address of a module that is no file. */
  readonly hash: string;
  /** What stood in the files, with which another process can load the same, whatever stands there by then. */
  readonly texts: ModuleTexts;
  /** Addresses of modules that are not loaded anew: those of other machines, without packages, which have versions. */
  readonly remote: readonly string[];
}

/** What is found out while modules are loaded. */
interface Finding {
  readonly version: number;
  readonly files: Set<string>;
  readonly remote: Set<string>;
}

type Resolve = (specifier: string, context: { parentURL?: string }, next: NextResolve) => { url: string };
type NextResolve = (specifier: string, context: { parentURL?: string }) => { url: string };

/** A module as the runtime takes it. */
interface ModuleText {
  readonly format?: string;
  readonly source: unknown;
  readonly shortCircuit?: boolean;
}

type Load = (
  url: string,
  context: unknown,
  next: (url: string, context: unknown) => ModuleText,
) => ModuleText;

const QUERY = "lbproxy-load";
const VERSION = new RegExp(`[?&]${QUERY}=(\\d+)$`);
/** This package, whose modules are what they are; a configuration in its folder is none of them. */
const OWN = ["mod.ts", "lib/", "vendor/"].map((path) => new URL(`../../${path}`, import.meta.url).href);

/**
 * Loads a module as often as it is asked to.
 *
 * The runtime keeps each module by its address for good, so that a second load needs other addresses: these get a query, and
 * the runtime is told to resolve what they import the same way. `import.meta.dirname` and `filename` stay what they are. What was
 * loaded before stays in memory, as long as the process lives.
 */
export class ModuleGraph implements Disposable {
  readonly #hooks: { deregister(): void };
  /** Only where files have changed since: with it the runtime says less of mistakes in modules. */
  #loadHooks: { deregister(): void } | null = null;
  #texts: ModuleTexts = {};
  #loads = 0;
  #finding: Finding | null = null;
  /** Addresses of the first load, which have no query. */
  readonly #first = new Set<string>();

  constructor() {
    const resolve: Resolve = (specifier, context, next) => this.#resolve(specifier, context, next);
    this.#hooks = hooks.registerHooks({ resolve });
  }

  /**
   * Loads a module, one at a time.
   *
   * @param files set to the files that were found, also when it cannot be loaded
   * @param texts what stands in files, whatever they hold by now
   */
  async load(
    url: string,
    files: Set<string> = new Set(),
    texts: ModuleTexts = {},
  ): Promise<LoadedModule> {
    await this.#expect(texts);
    const finding: Finding = { version: ++this.#loads, files, remote: new Set() };
    this.#finding = finding;
    if (!isLocal(url)) {
      finding.remote.add(url);
      const hash = createHash("sha256").update(url).digest("hex");
      return {
        module: await import(url),
        sources: { files: [], hash, texts: {}, remote: [...finding.remote] },
      };
    }
    files.add(fileURLToPath(url));
    try {
      const module = await import(this.#versioned(url, finding.version));
      const sorted = [...files].sort();
      const read: Record<string, string> = {};
      const hash = await hashOf(sorted, read);
      return { module, sources: { files: sorted, hash, texts: read, remote: [...finding.remote] } };
    } catch (error) {
      throw withoutVersions(error);
    }
  }

  #versioned(url: string, version: number): string {
    if (version > 1) return `${url}${url.includes("?") ? "&" : "?"}${QUERY}=${version}`;
    this.#first.add(url);
    return url;
  }

  #resolve(specifier: string, context: { parentURL?: string }, next: NextResolve): { url: string } {
    const found = next(specifier, context);
    const parent = context.parentURL ?? "";
    const version = this.#first.has(parent) ? 1 : Number(VERSION.exec(parent)?.[1] ?? 0);
    if (version === 0 || VERSION.test(found.url)) return found;
    const finding = this.#finding?.version === version ? this.#finding : null;
    if (isLocal(found.url)) {
      finding?.files.add(fileURLToPath(found.url));
      return { ...found, url: this.#versioned(found.url, version) };
    }
    if (/^https?:/.test(found.url) && !found.url.startsWith("https://jsr.io/")) {
      finding?.remote.add(found.url);
    }
    return found;
  }

  /** Has files hold these texts for the modules that are loaded from now on. */
  async #expect(texts: ModuleTexts): Promise<void> {
    const found: Record<string, string> = {};
    const names = Object.keys(texts);
    await hashOf(names, found);
    this.#texts = names.every((name) => found[name] === texts[name]) ? {} : texts;
    if (this.#texts !== texts || this.#loadHooks !== null) return;
    const load: Load = (url, context, next) => {
      const path = url.startsWith("file:") ? fileURLToPath(url) : "";
      const text = this.#texts[path];
      if (text === undefined) return next(url, context);
      const source = /\.[cm]?tsx?$/.test(path)
        ? hooks.stripTypeScriptTypes(text, { mode: "transform" })
        : text;
      return { format: "module", source, shortCircuit: true };
    };
    this.#loadHooks = hooks.registerHooks({ load });
  }

  /** Resolves as the runtime does from now on. */
  [Symbol.dispose](): void {
    this.#hooks.deregister();
    this.#loadHooks?.deregister();
  }
}

/** Of `node:module`, without types so far. */
interface Hooks {
  registerHooks(hooks: { resolve?: Resolve; load?: Load }): { deregister(): void };
  stripTypeScriptTypes(text: string, options: { mode: "transform" }): string;
}

const hooks = nodeModule as unknown as Hooks;

/** Whether it is a file of the configuration's own. */
function isLocal(url: string): boolean {
  return url.startsWith("file:") && !url.includes("/node_modules/") &&
    !OWN.some((own) => url.startsWith(own));
}

/**
 * SHA-256 of files, by their paths and contents.
 *
 * @param texts set to what stands in them, as far as it is text
 * @returns in hexadecimal
 */
export async function hashOf(
  files: readonly string[],
  texts: Record<string, string> | null = null,
): Promise<string> {
  const hash = createHash("sha256");
  for (const file of files) {
    hash.update(`${file}\0`);
    try {
      const bytes = await Deno.readFile(file);
      hash.update(bytes);
      if (texts !== null) texts[file] = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch {
      // Gone, not to be read, or no text: that is what is known of it.
    }
  }
  return hash.digest("hex");
}

/** An operator knows files by their names. */
function withoutVersions(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const strip = (text: string): string => text.replaceAll(new RegExp(`[?&]${QUERY}=\\d+`, "g"), "");
  try {
    error.message = strip(error.message);
    if (error.stack !== undefined) error.stack = strip(error.stack);
  } catch {
    // An error of a configuration may be frozen.
  }
  return error;
}
