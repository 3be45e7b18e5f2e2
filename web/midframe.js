// Three things that ComfyUI's browser needs from a pack, and no server can do.
//
// 1. Gives the example workflows their clip. ComfyUI looks for videos in its input folder alone, and the clip lies beside
// the workflows; when one that names it is opened, and the input folder lacks it, it is uploaded there.
//
// 2. Keeps the newest frame of a run and what the node has made apart. The front end holds both, shows the frame
// wherever it should show the result, and on a node with a VIDEO input shows any picture as a video: a broken one
// ("Video failed to load"; front ends 1.45 to 1.58). Here a node has one of them at a time.
//
// 3. Lets a link of FLOAT into a multiplier, and one of INT into a frame rate, which the server takes. Their type stays
// INT and FLOAT for all else: programs that read the nodes' definitions tell widgets by it.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const CLIP = "midframe_example.mp4";
const PACK = new URL(import.meta.url).pathname.split("/").at(-2);

async function upload() {
  const clip = await api.fetchApi(`/workflow_templates/${PACK}/${CLIP}`);
  if (!clip.ok) throw new Error(`HTTP ${clip.status}`);
  const form = new FormData();
  form.append("image", new File([await clip.blob()], CLIP, { type: "video/mp4" }));
  const answer = await api.fetchApi("/upload/image", { method: "POST", body: form });
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  await app.refreshComboInNodes();
}

// Of the front end's stores, the one with the outputs and previews of all nodes. No message and no function that is
// meant for packs takes a preview away: only the next run does.
const outputs = () =>
  document.getElementById("vue-app")?.__vue_app__?.config.globalProperties.$pinia?._s.get("nodeOutput");

// Keys of the store are "12", in a subgraph "its id:12"; the server's are "12", there "5:12".
const placesOf = (rows, id) =>
  Object.keys(rows ?? {}).filter((key) => key.split(":").at(-1) === String(id).split(":").at(-1));

function dropResult(id) {
  const { nodeOutputs } = outputs() ?? {};
  for (const place of placesOf(nodeOutputs, id)) {
    if (!nodeOutputs[place]?.images) continue;
    delete nodeOutputs[place];
    delete app.nodeOutputs[place];
  }
  // The classic canvas has a player instead, and loads whatever comes next into it.
  const node = app.graph.getNodeById(id);
  if (!node?.videoContainer) return;
  const player = node.widgets.findIndex((widget) => widget.element === node.videoContainer);
  if (player >= 0) node.widgets.splice(player, 1)[0].onRemove?.();
  node.videoContainer = node.previewMediaType = undefined;
}

function dropPreview(id) {
  const store = outputs();
  for (const place of placesOf(store?.nodePreviewImages, id)) store.revokePreviewsByLocatorId(place);
  // The classic canvas may be loading it still, and nobody says when it has.
  for (const later of [0, 300, 3000]) setTimeout(() => dropPicture(id), later);
}

function dropPicture(id) {
  const node = app.graph.getNodeById(id);
  const running = placesOf(outputs()?.nodePreviewImages, id).length > 0;
  if (running || !node?.imgs?.some((picture) => picture.src.startsWith("blob:"))) return;
  node.imgs = undefined;
  node.setDirtyCanvas(true, true);
}

const NUMBERS = { multiplier: "INT,FLOAT", target_fps: "FLOAT,INT" };

function takeNumbers(node) {
  if (!node.comfyClass?.startsWith("Midframe")) return;
  for (const slot of node.inputs ?? []) slot.type = NUMBERS[slot.name] ?? slot.type;
}

app.registerExtension({
  name: "Midframe",
  setup() {
    api.addEventListener("b_preview_with_metadata", ({ detail }) => dropResult(detail.displayNodeId ?? detail.nodeId));
    api.addEventListener("executed", ({ detail }) => {
      if (detail.output?.images) dropPreview(detail.display_node ?? detail.node);
    });
  },
  nodeCreated(node) {
    takeNumbers(node);
    if (node.comfyClass === "MidframeReport") node.previewMediaType = "image";
    // "Replace Node" of front end 1.58 leaves the graph's version as it was where all links go over. The canvas keeps
    // its order of drawing until the version changes: it would draw the node that is gone, fail, and stand still.
    if (node.comfyClass?.startsWith("Midframe")) queueMicrotask(() => node.graph?.incrementVersion?.());
  },
  loadedGraphNode: takeNumbers,
  async beforeConfigureGraph(graph) {
    if (!JSON.stringify(graph ?? "").includes(`"${CLIP}"`)) return;
    const menus = await (await api.fetchApi("/object_info/LoadVideo")).json();
    if (JSON.stringify(menus).includes(`"${CLIP}"`)) return;
    try {
      await upload();
    } catch (error) {
      console.warn(`Midframe: ${CLIP} did not get into the input folder (${error}); choose another video.`);
    }
  },
});
