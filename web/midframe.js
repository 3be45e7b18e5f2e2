// Two things that ComfyUI's browser needs from a pack, and no server can do.
//
// 1. Gives the example workflows their clip. ComfyUI looks for videos in its input folder alone, and the clip lies beside
// the workflows; when one that names it is opened, and the input folder lacks it, it is uploaded there.
//
// 2. Says that pictures are pictures. Nodes 2.0 shows what comes from a node with a VIDEO input as a video, the newest frame
// of a run too, and then that it is broken ("Video failed to load"; front ends 1.45 to 1.58).
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

const isPicture = (node) => node && (node.previewMediaType ??= "image");

app.registerExtension({
  name: "Midframe",
  setup() {
    api.addEventListener("b_preview_with_metadata", ({ detail }) =>
      isPicture(app.graph.getNodeById(detail.displayNodeId ?? detail.nodeId)),
    );
  },
  nodeCreated(node) {
    if (node.comfyClass === "MidframeReport") isPicture(node);
  },
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
