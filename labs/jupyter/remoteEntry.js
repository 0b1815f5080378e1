// An extension of JupyterLab, by hand and without a build: whoever comes back to the progress page sees it as it
// is now. JupyterLab itself does not notice when a file that it shows is written anew.

const PAGE = "PROGRESS.md";

async function refresh(app, widget) {
  const context = widget?.context;
  if (context?.path !== PAGE) return;
  await context.ready;
  if (context.isDisposed) return;
  if (widget.content?.editor) {
    // as text: so it is opened before the settings are there that say otherwise
    widget.close();
    await app.commands.execute("docmanager:open", { path: PAGE, factory: "Markdown Preview" });
  } else {
    await context.revert();
  }
}

const plugin = {
  id: "pixelwise-labs:progress",
  autoStart: true,
  activate(app) {
    const look = () => refresh(app, app.shell.currentWidget);
    app.shell.currentChanged?.connect(look);
    app.restored.then(look);
    window.addEventListener("focus", look);
  },
};

const extension = { __esModule: true, default: plugin };
globalThis._JUPYTERLAB ??= {};
globalThis._JUPYTERLAB["pixelwise-labs"] = { init() {}, get: async () => () => extension };
