// Gives the example workflows their clip. ComfyUI looks for videos in its input folder alone, and the clip lies beside
// the workflows; when one that names it is opened, and the input folder lacks it, it is uploaded there.
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

app.registerExtension({
  name: "Midframe.ExampleClip",
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
