/** The program of Pingora's tutorial; must be compiled before. */

import type { Peer } from "../peer.ts";

const BINARY = `${import.meta.dirname}/../../peers/pingora/target/release/pingora-peer`;

/** Pingora, one thread. */
export const pingora: Peer = {
  name: "pingora",
  title: "Pingora",
  kind: "proxy",
  program: BINARY,
  install: "cargo build --release --manifest-path bench/peers/pingora/Cargo.toml",
  versionArgs: ["--version"],
  prepare: ({ port, servers }) =>
    Promise.resolve({
      command: BINARY,
      args: [`127.0.0.1:${port}`, ...servers.map((server) => `127.0.0.1:${server}`)],
    }),
};
