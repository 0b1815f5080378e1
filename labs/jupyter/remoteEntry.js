// An extension of JupyterLab, by hand and without a build: whoever comes back to the progress page sees it as it
// is now. JupyterLab itself does not notice when a file that it shows is written anew.

const PAGE = "PROGRESS.md";

async function refresh(widget) {
  const context = widget?.context;
  if (context?.path !== PAGE) return;
  await context.ready;
  if (!context.model.dirty && !context.isDisposed) await context.revert();
}

const plugin = {
  id: "pixelwise-labs:progress",
  autoStart: true,
  activate(app) {
    app.shell.currentChanged?.connect((_, change) => refresh(change.newValue));
    window.addEventListener("focus", () => refresh(app.shell.currentWidget));
  },
};

const extension = { __esModule: true, default: plugin };
globalThis._JUPYTERLAB ??= {};
globalThis._JUPYTERLAB["pixelwise-labs"] = { init() {}, get: async () => () => extension };
