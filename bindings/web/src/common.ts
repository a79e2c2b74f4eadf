// What the package exports in browsers and in Node alike.

export type { Engine } from './client.js';
export { MobileBertError } from './errors.js';
export type {
  FeatureExtractionPipeline,
  FeatureOptions,
  FillMaskPipeline,
  PipelineBase,
  Pipelines,
  QuestionAnsweringPipeline,
  TextClassificationPipeline,
  TokenClassificationPipeline,
} from './pipelines.js';
export { type Nested, Tensor } from './tensor.js';
export type * from './types.js';
