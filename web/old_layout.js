// Opens graphs that were saved when the nodes had all their widgets themselves. Such a graph holds values by
// position: each goes to the widget of its name, and what differs from its default among those that moved
// goes to a Run Settings or TLBVFI Settings node that is added and linked.
//
// Of two nodes of older packs too, which had the model as their first value and later had it elsewhere: it is moved there.
import { app } from "../../scripts/app.js";

// JSON between the two marks: tests/nodes/test_saved_workflows.py compares it with the nodes.
const LAYOUT = /* begin */ {
  "settings": {
    "MidframeRunSettings": {
      "input": "run_settings",
      "type": "MIDFRAME_RUN_SETTINGS",
      "widgets": {
        "device": "auto", "dtype": "auto", "batch": 0, "clear_cache_after_n_frames": 0,
        "after_run": "keep loaded", "storage": "auto", "allow_changed_picture": false, "memory_lines": false,
        "pairs_per_chunk": 240, "executor": "this process", "ray_address": ""
      }
    },
    "MidframeTLBVFISettings": {
      "input": "tlbvfi_settings",
      "type": "MIDFRAME_TLBVFI_SETTINGS",
      "widgets": {
        "eta": 1.0, "sample_steps": 10, "ema": true, "tile": "off", "tile_overlap": 64,
        "published_range": false
      }
    }
  },
  "renamed": {
    "scale": "motion_resolution",
    "flow_scale": "motion_resolution",
    "clear_cache_after_n_pairs": "clear_cache_after_n_frames"
  },
  "nodes": {
    "MidframeRIFE": {
      "before": [
        "model", "multiplier", "source_fps", "target_fps", "scale", "ensemble", "dtype", "batch",
        "clear_cache_after_n_frames", "last_frame", "device", "after_run", "allow_changed_picture", "storage"
      ],
      "now": {
        "model": "default", "multiplier": 2, "source_fps": 0.0, "target_fps": 0.0,
        "motion_resolution": "auto", "ensemble": false, "last_frame": "auto", "clear_cache_after_n_frames": 0
      }
    },
    "MidframeFILM": {
      "before": [
        "model", "multiplier", "source_fps", "target_fps", "schedule", "align", "dtype", "batch",
        "clear_cache_after_n_frames", "last_frame", "device", "after_run", "storage"
      ],
      "now": {
        "model": "film", "multiplier": 2, "source_fps": 0.0, "target_fps": 0.0, "schedule": "any_t",
        "align": false, "last_frame": "auto", "clear_cache_after_n_frames": 0
      }
    },
    "MidframeTLBVFI": {
      "before": [
        "model", "multiplier", "source_fps", "target_fps", "clear_cache_after_n_frames", "last_frame",
        "device", "after_run", "allow_changed_picture", "seed", "eta", "sample_steps", "flow_scale", "ema",
        "tile", "tile_overlap", "published_range", "memory_lines", "storage"
      ],
      "now": {
        "model": "tlbvfi", "multiplier": 2, "source_fps": 0.0, "target_fps": 0.0,
        "clear_cache_after_n_frames": 0, "last_frame": "auto", "seed": 0, "motion_resolution": "auto"
      }
    },
    "MidframeVideo": {
      "before": [
        "model", "multiplier", "target_fps", "scale", "dtype", "batch", "clear_cache_after_n_frames",
        "last_frame", "device", "after_run"
      ],
      "now": {
        "model": "default", "multiplier": 2, "target_fps": 0.0, "motion_resolution": "auto",
        "last_frame": "auto"
      }
    },
    "MidframeChunks": {
      "before": [
        "model", "multiplier", "filename_prefix", "target_fps", "format", "pairs_per_chunk", "scale", "dtype",
        "batch", "clear_cache_after_n_pairs", "last_frame", "device", "after_run", "executor", "ray_address"
      ],
      "now": {
        "model": "default", "multiplier": 2, "filename_prefix": "midframe/long", "target_fps": 0.0,
        "format": "mp4", "motion_resolution": "auto", "last_frame": "auto"
      }
    }
  }
} /* end */;

const newName = (name) => LAYOUT.renamed[name] ?? name;

// Newer front ends save a socket for each widget, which names it; of older ones the number of values tells.
function isOld(node, { before, now }) {
  const named = (node.inputs ?? []).filter((input) => input.widget).map((input) => input.widget.name);
  const values = node.widgets_values;
  if (!values) return false;
  if (named.length) return named.some((name) => before.includes(name) && !(name in now));
  return Array.isArray(values) && values.length > Object.keys(now).length;
}

function valuesByNewName(node, { before }) {
  const values = node.widgets_values;
  const pairs = Array.isArray(values) ? before.map((name, at) => [name, values[at]]) : Object.entries(values);
  return Object.fromEntries(
    pairs
      .filter(([, value]) => value !== undefined)
      // The menu holds texts; what was there before were texts or numbers.
      .map(([name, value]) => [newName(name), newName(name) === "motion_resolution" ? String(value) : value])
  );
}

class Ids {
  constructor(graphs) {
    const all = (of) => graphs.flatMap(of).map(Number).filter(Number.isFinite);
    this.node = Math.max(0, ...all((g) => [g.last_node_id, g.state?.lastNodeId, ...g.nodes.map((n) => n.id)]));
    this.link = Math.max(
      0,
      ...all((g) => [g.last_link_id, g.state?.lastLinkId, ...(g.links ?? []).map((l) => l.id ?? l[0])])
    );
  }

  note(graph) {
    if (graph.state) Object.assign(graph.state, { lastNodeId: this.node, lastLinkId: this.link });
    if ("last_node_id" in graph) Object.assign(graph, { last_node_id: this.node, last_link_id: this.link });
  }
}

function addSettings(graph, node, type, values, linked, ids) {
  const { input, type: socket, widgets } = LAYOUT.settings[type];
  const id = ++ids.node;
  const link = ++ids.link;
  const settings = {
    id,
    type,
    pos: [Number(node.pos?.[0] ?? 0) - 380, Number(node.pos?.[1] ?? 0)],
    size: [340, 60 + 26 * Object.keys(widgets).length],
    flags: {},
    order: 0,
    mode: 0,
    inputs: linked.map((slot) => ({ ...slot, name: newName(slot.name), widget: { name: newName(slot.name) } })),
    outputs: [{ name: input, type: socket, links: [link] }],
    properties: { "Node name for S&R": type },
    widgets_values: Object.keys(widgets).map((name) => values[name] ?? widgets[name]),
  };
  for (const [slot, moved] of settings.inputs.entries()) retarget(graph, moved.link, id, slot);
  node.inputs.push({ name: input, type: socket, shape: 7, link });
  graph.nodes.push(settings);
  const asObjects = graph.links?.length ? !Array.isArray(graph.links[0]) : Boolean(graph.inputNode);
  const slot = node.inputs.length - 1;
  graph.links = graph.links ?? [];
  graph.links.push(
    asObjects
      ? { id: link, origin_id: id, origin_slot: 0, target_id: node.id, target_slot: slot, type: socket }
      : [link, id, 0, node.id, slot, socket]
  );
  ids.note(graph);
}

function retarget(graph, link, node, slot) {
  for (const row of graph.links ?? []) {
    if (Array.isArray(row) && row[0] === link) [row[3], row[4]] = [node, slot];
    else if (row.id === link) Object.assign(row, { target_id: node, target_slot: slot });
  }
}

function convert(graph, node, layout, ids) {
  const values = valuesByNewName(node, layout);
  const slots = (node.inputs ?? []).map((slot) =>
    slot.widget ? { ...slot, name: newName(slot.name), widget: { name: newName(slot.widget.name) } } : slot
  );
  const moved = (slot) => slot.widget && !(slot.widget.name in layout.now);
  node.inputs = slots.filter((slot) => !moved(slot));
  for (const [at, slot] of node.inputs.entries()) {
    if (slot.link != null) retarget(graph, slot.link, node.id, at);
  }
  node.widgets_values = Object.entries(layout.now).map(([name, usual]) => values[name] ?? usual);
  for (const [type, { widgets }] of Object.entries(LAYOUT.settings)) {
    const own = Object.keys(widgets).filter((name) => !(name in layout.now));
    const linked = slots.filter((slot) => moved(slot) && slot.link != null && own.includes(slot.name));
    const changed = own.filter((name) => name in values && values[name] !== widgets[name]);
    if (changed.length || linked.length) {
      const given = Object.fromEntries(changed.map((name) => [name, values[name]]));
      addSettings(graph, node, type, given, linked, ids);
    }
  }
}

// Values before the model in the stand-in's layout, as usual ones; only where the other pack is absent.
const MODEL_LAST = { RifeTensorrt: [100, 2, true, false], RIFEInterpolation: [30, 60, 1] };
const standsIn = (type) => globalThis.LiteGraph?.registered_node_types?.[type]?.category?.startsWith("video/Midframe");

function moveModel(node) {
  const usual = MODEL_LAST[node.type];
  const [model, ...values] = Array.isArray(node.widgets_values) ? node.widgets_values : [];
  if (!usual || typeof model !== "string" || !standsIn(node.type)) return;
  const before = usual.map((value, at) => values[at] ?? value);
  node.widgets_values = [...before, model, ...values.slice(usual.length)];
}

export function convertOldLayout(data) {
  const graphs = [data, ...(data?.definitions?.subgraphs ?? [])].filter((graph) => Array.isArray(graph?.nodes));
  const ids = new Ids(graphs);
  for (const graph of graphs) {
    for (const node of [...graph.nodes]) {
      const layout = LAYOUT.nodes[node.type];
      if (layout && isOld(node, layout)) convert(graph, node, layout, ids);
      moveModel(node);
    }
  }
}

app.registerExtension({ name: "Midframe.OldLayout", beforeConfigureGraph: convertOldLayout });
