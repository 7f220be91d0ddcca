// Enhances the pages, which work without it: searches without a page load, endless results, regions.
// Nothing is loaded from other hosts.
import { watchFiles } from "./upload.js";
import { restoreOnLoad, watchHistory } from "./results.js";
import { watchControls } from "./controls.js";
import { watchCropping } from "./crop.js";
import { watchCopying } from "./copy.js";
import { watchMore } from "./more.js";
import { watchPopovers } from "./popovers.js";
import { watchUploadPlace } from "./upload_place.js";
import { watchWaiting } from "./waiting.js";

watchHistory();
watchFiles();
watchControls();
watchCropping();
watchMore();
watchCopying();
watchPopovers();
watchWaiting();
watchUploadPlace();
restoreOnLoad();
