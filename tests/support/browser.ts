/** A real browser, if installed. */

import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { TOKEN } from "./admin_client.ts";

const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** Path of Chromium: `CHROMIUM`, or the usual path; `null` if there is none. */
export const CHROMIUM: string | null = findChromium();

function findChromium(): string | null {
  const wanted = Deno.env.get("CHROMIUM");
  const found = [...(wanted === undefined ? [] : [wanted]), ...PLACES].find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  });
  return found ?? null;
}

/** How a page is opened. */
interface PageOptions extends BrowserContextOptions {
  /** Whether the page has the token of the tests. */
  unlocked?: boolean;
  /** State of the proxy that the page must show. @default {"Serving"} */
  expected?: string;
}

/** A page, with its requests and errors. */
export class TestPage implements AsyncDisposable {
  readonly page: Page;
  /** Errors and warnings of the page and its console. */
  readonly complaints: string[] = [];
  /** URLs of all requests. */
  readonly requests: string[] = [];
  /** Bytes of all finished responses. */
  bytes = 0;
  readonly #browser: Browser;

  private constructor(browser: Browser, page: Page) {
    this.#browser = browser;
    this.page = page;
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.complaints.push(message.text());
    });
    page.on("request", (request) => this.requests.push(request.url()));
    page.on("requestfinished", async (request) => {
      const body = await request.response().then((response) => response?.body()).catch(() => undefined);
      this.bytes += body?.length ?? 0;
    });
  }

  /** Opens a page of an admin listener, with the token of the tests if `unlocked`. */
  static async open(
    address: string,
    { unlocked = false, expected = "Serving", ...options }: PageOptions = {},
  ): Promise<TestPage> {
    const browser = await chromium.launch({ executablePath: CHROMIUM!, args: ["--no-sandbox"] });
    const context = await browser.newContext({ viewport: { width: 1600, height: 1000 }, ...options });
    if (unlocked) await context.addInitScript(`sessionStorage.setItem("token", ${JSON.stringify(TOKEN)})`);
    const made = new TestPage(browser, await context.newPage());
    await made.page.goto(`http://${address}/`);
    await made.untilText("#state-text", expected);
    return made;
  }

  /** Waits until an element has this text. */
  async untilText(selector: string, text: string): Promise<void> {
    await this.page.locator(selector).getByText(text, { exact: true }).first().waitFor({ state: "attached" });
  }

  /** The row of a server. */
  row(address: string): ReturnType<Page["locator"]> {
    return this.page.locator(".servers tbody tr").filter({ hasText: address });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#browser.close();
  }
}
