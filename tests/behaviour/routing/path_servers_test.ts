/** No spelling of a path leads past the route that protects it, whoever the server is. */

import { assert, assertEquals } from "@std/assert";
import { basicAuth } from "../../../lib/filters/basic_auth.ts";
import { FILE_SERVERS, type FileServerName, fileServerTest, SECRET } from "../../support/file_servers.ts";
import { FREE, SPELLINGS } from "../../support/path_spellings.ts";
import { startProxy } from "../../support/start_proxy.ts";

const users = { root: "secret" };
const root = `Authorization: Basic ${btoa("root:secret")}`;

/** How many of the spellings get the file at each of them, at least; otherwise nothing is tested. */
const REACHED: Record<FileServerName, number> = {
  nginx: 17,
  "node by URL": 17,
  "node by target": 14,
  python: 17,
};

for (const server of FILE_SERVERS) {
  for (const forward of ["received", "normalized"] as const) {
    fileServerTest(
      server,
      `no spelling of a path gets past its route to ${server}, ${forward}`,
      async (files) => {
        await using proxy = await startProxy({
          upstreams: [files.address],
          forward,
          routes: [{ match: { path: "/admin/*" }, filters: [basicAuth({ users })] }, {}],
        });
        let reached = 0;
        for (const target of SPELLINGS) {
          const { status, text } = await proxy.ask(`GET ${target}`);
          assert(!text.includes(SECRET), `${target} gives ${status}`);
          assert(status < 500, `${target} gives ${status}`);
          if ((await files.ask(target)).includes(SECRET)) reached++;
        }
        assert(reached >= REACHED[server], `only ${reached} spellings are of the file`);
        for (const target of FREE) assertEquals((await proxy.ask(`GET ${target}`)).status, 200, target);
        assertEquals((await proxy.ask("GET /admin/x", [root])).text, SECRET);
        assertEquals((await proxy.ask("GET /./%61dmin/x", [root])).text, SECRET);
      },
    );
  }

  fileServerTest(
    server,
    `a raw path that ${server} reads in another way gets past its route`,
    async (files) => {
      await using proxy = await startProxy({
        upstreams: [files.address],
        paths: "raw",
        routes: [{ match: { path: "/admin/*" }, filters: [basicAuth({ users })] }, {}],
      });
      // Which is what `raw` means, and shows that the test above tests something.
      assertEquals((await proxy.ask("GET /./admin/x")).text, SECRET);
    },
  );
}
