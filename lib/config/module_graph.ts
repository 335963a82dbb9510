/** Loads modules again, together with the local modules that they import. */

import { createHash } from "node:crypto";
import * as nodeModule from "node:module";
import { fileURLToPath } from "node:url";

/** A module, and its sources. */
interface LoadedModule {
  readonly module: Record<string, unknown>;
  readonly sources: ModuleSources;
}

/** Contents of local files, by path. */
export type ModuleTexts = Readonly<Record<string, string>>;

/** The sources of a module. */
export interface ModuleSources {
  /** Paths of the files: the module, and the local modules that it imports, directly or indirectly. */
  readonly files: readonly string[];
  /** SHA-256 of the files in hexadecimal; of the URL for a module that is not a file. */
  readonly hash: string;
  /** Contents of the files. Another process can load the same module with them, even if the files have changed. */
  readonly texts: ModuleTexts;
  /** URLs of modules that are not loaded again: remote modules except packages, which have versions. */
  readonly remote: readonly string[];
}

/** Files and remote modules found during a load. */
interface FoundModules {
  readonly version: number;
  readonly files: Set<string>;
  readonly remote: Set<string>;
}

type Resolve = (specifier: string, context: { parentURL?: string }, next: NextResolve) => { url: string };
type NextResolve = (specifier: string, context: { parentURL?: string }) => { url: string };

/** A module in the form for the runtime. */
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
/** The modules of this package, which are not loaded again. A configuration in its folder is not one of them. */
const OWN = ["mod.ts", "lib/", "vendor/"].map((path) => new URL(`../../${path}`, import.meta.url).href);

/**
 * Loads a module again on each call.
 *
 * The runtime caches each module by its URL for ever, so a second load needs other URLs: a query is added to the URL,
 * and a hook resolves the imports of the module in the same way. `import.meta.dirname` and `filename` stay the same.
 * Modules loaded before stay in memory until the process ends.
 */
export class ModuleGraph implements Disposable {
  readonly #hooks: { deregister(): void };
  /** Only registered if files have changed since: with it the runtime reports errors in modules less precisely. */
  #loadHooks: { deregister(): void } | null = null;
  #texts: ModuleTexts = {};
  #loads = 0;
  #found: FoundModules | null = null;
  /** URLs of the first load, which have no query. */
  readonly #first = new Set<string>();

  constructor() {
    const resolve: Resolve = (specifier, context, next) => this.#resolve(specifier, context, next);
    this.#hooks = hooks.registerHooks({ resolve });
  }

  /**
   * Loads a module; call it for one module at a time.
   *
   * @param files receives the files that were found, also if the module cannot be loaded
   * @param texts contents of files that replace the current ones
   */
  async load(
    url: string,
    files: Set<string> = new Set(),
    texts: ModuleTexts = {},
  ): Promise<LoadedModule> {
    await this.#useTexts(texts);
    const foundModules: FoundModules = { version: ++this.#loads, files, remote: new Set() };
    this.#found = foundModules;
    if (!isLocal(url)) {
      foundModules.remote.add(url);
      const hash = createHash("sha256").update(url).digest("hex");
      return {
        module: await import(url),
        sources: { files: [], hash, texts: {}, remote: [...foundModules.remote] },
      };
    }
    files.add(fileURLToPath(url));
    try {
      const module = await import(this.#versioned(url, foundModules.version));
      const sorted = [...files].sort();
      const read: Record<string, string> = {};
      const hash = await hashOf(sorted, read);
      return { module, sources: { files: sorted, hash, texts: read, remote: [...foundModules.remote] } };
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
    const foundModules = this.#found?.version === version ? this.#found : null;
    if (isLocal(found.url)) {
      foundModules?.files.add(fileURLToPath(found.url));
      return { ...found, url: this.#versioned(found.url, version) };
    }
    if (/^https?:/.test(found.url) && !found.url.startsWith("https://jsr.io/")) {
      foundModules?.remote.add(found.url);
    }
    return found;
  }

  /** Uses these contents of files for modules loaded from now on. */
  async #useTexts(texts: ModuleTexts): Promise<void> {
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

  /** Restores the normal resolution of the runtime. */
  [Symbol.dispose](): void {
    this.#hooks.deregister();
    this.#loadHooks?.deregister();
  }
}

/** Functions of `node:module` without types in the runtime so far. */
interface Hooks {
  registerHooks(hooks: { resolve?: Resolve; load?: Load }): { deregister(): void };
  stripTypeScriptTypes(text: string, options: { mode: "transform" }): string;
}

const hooks = nodeModule as unknown as Hooks;

/** Whether a URL is a file of the configuration. */
function isLocal(url: string): boolean {
  return url.startsWith("file:") && !url.includes("/node_modules/") &&
    !OWN.some((own) => url.startsWith(own));
}

/**
 * SHA-256 of files, by their paths and contents.
 *
 * @param texts receives the contents of text files
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
      // The file is missing, unreadable or not text: then only its path, or path and bytes, count.
    }
  }
  return hash.digest("hex");
}

/** Removes version queries: an operator knows files by their names. */
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
