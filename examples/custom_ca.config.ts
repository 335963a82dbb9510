// Servers whose certificates are signed by your own authority. Its certificate is in `ca.pem` or in the file that CA_FILE names.
//
// It needs your own servers: change their addresses below first. To make an authority for a test:
//   openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=authority -keyout ca-key.pem -out ca.pem
//   deno run -A ../mod.ts custom_ca.config.ts
//
// Deno accepts an expired certificate, or one that no trusted authority has signed, only with the flag
// --unsafely-ignore-certificate-errors=inside.example, which switches off all checks for that name.

import { defineConfig } from "@x/lbproxy";

const ca = Deno.readTextFileSync(Deno.env.get("CA_FILE") ?? "ca.pem");

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    servers: ["10.0.0.1:8443", "10.0.0.2:8443"],
    tls: {
      serverName: "inside.example",
      // In addition to the authorities that the system trusts.
      caCerts: [ca],
      // For servers that require a client certificate:
      // cert: Deno.readTextFileSync("proxy.pem"), key: Deno.readTextFileSync("proxy-key.pem"),
      // Accepts a certificate for any name if the authority has signed it:
      // verifyHostname: false,
    },
  },
});
