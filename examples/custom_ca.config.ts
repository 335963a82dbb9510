// Servers whose certificates are signed by an authority of one's own, in `ca.pem` or where CA_FILE says.
//
//   deno run -A jsr:@x/lbproxy custom_ca.config.ts
//
// What Deno takes only by a flag of its own: a certificate that nobody has signed or that has expired. Where that is
// the case, add --unsafely-ignore-certificate-errors=inside.example, which takes off all checks for that name.

import { defineConfig } from "@x/lbproxy";

const ca = Deno.readTextFileSync(Deno.env.get("CA_FILE") ?? "ca.pem");

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    servers: ["10.0.0.1:8443", "10.0.0.2:8443"],
    tls: {
      serverName: "inside.example",
      // Beside the authorities that the system trusts.
      caCerts: [ca],
      // For servers that ask who their client is:
      // cert: Deno.readTextFileSync("proxy.pem"), key: Deno.readTextFileSync("proxy-key.pem"),
      // Takes a certificate for any name, as long as the authority has signed it:
      // verifyHostname: false,
    },
  },
});
