/**
 * Which npm packages hold copies of the `@std` packages, and where in them.
 *
 * @module
 */

/** A package of an npm registry, pinned by its content. */
export interface Tarball {
  name: string;
  version: string;
  /** What the registry calls `integrity`: the checksum that makes the source of the bytes irrelevant. */
  sha512: string;
}

/** How one `@std` package is put together from a tarball. */
export interface Recipe {
  /** Name below `@std/`. */
  name: string;
  /** The version on JSR that the files are a copy of; `deno.json` has to ask for exactly this one. */
  version: string;
  tarball: Tarball;
  /** The part of a path in the tarball that is dropped; what is left is the path in the `@std` package. */
  modules: RegExp;
  /** The same for the tarball's own type declarations, if it has any that belong to `modules`. */
  declarations?: RegExp;
  /** The entry points of the package that this project imports. */
  exports: Record<string, string>;
}

/** All stable parts of `@std`, as JavaScript without types. */
const DENO_STD: Tarball = {
  name: "deno-std",
  version: "1.4.0",
  sha512: "7c0Y6tyn0Sx0NKiaAeGtDwrpG+C7VFcOStVcYXPnjAuIEonxzVV+n6s8iuFjg6keqzxo/zrPbR/J9EY9BLNsRA==",
};

/** A program that ships with the last release there will be of `@std/log`, and its types. */
const WINDMILL_CLI: Tarball = {
  name: "windmill-cli",
  version: "1.596.0",
  sha512: "5aFVNTOEaGyTKyQlyjFI1FAZ8fTIQ2vGSmnqL3FfZuKpKWdqGXh8p9Azdp8N2MkIwyP1vYtOK9nfQk6jr6tRTw==",
};

/** Everything of `@std` that this project uses. */
export const RECIPES: Recipe[] = [
  {
    name: "assert",
    version: "1.0.19",
    tarball: DENO_STD,
    modules: /^package\//,
    exports: { ".": "./assert/mod.js" },
  },
  {
    name: "cli",
    version: "1.0.32",
    tarball: DENO_STD,
    modules: /^package\//,
    exports: { "./parse-args": "./cli/parse_args.js" },
  },
  {
    name: "http",
    version: "1.1.4",
    tarball: DENO_STD,
    modules: /^package\//,
    exports: {
      "./cookie": "./http/cookie.js",
      "./negotiation": "./http/negotiation.js",
      "./server-sent-event-stream": "./http/server_sent_event_stream.js",
      "./status": "./http/status.js",
    },
  },
  {
    name: "log",
    version: "0.224.14",
    tarball: WINDMILL_CLI,
    modules: /^package\/esm\/deps\/[^/]+\/@std\//,
    declarations: /^package\/types\/deps\/[^/]+\/@std\//,
    exports: {
      ".": "./log/0.224.14/mod.js",
      "./base-handler": "./log/0.224.14/base_handler.js",
      "./file-handler": "./log/0.224.14/file_handler.js",
      "./rotating-file-handler": "./log/0.224.14/rotating_file_handler.js",
      "./levels": "./log/0.224.14/levels.js",
      "./logger": "./log/0.224.14/logger.js",
    },
  },
];
