// Compiled, never run: what the declarations of the installed package promise.

import {
  type Answer,
  type AnswersWithin,
  type LabelScore,
  MobileBertError,
  type PipelineOptions,
  pipeline,
  type Tensor,
} from 'mobilebert';

export async function use(): Promise<void> {
  const options: PipelineOptions = {
    progress_callback: (event) => {
      if (event.status === 'progress') console.log(event.file, event.loaded, event.total ?? 'unknown');
    },
    dtype: 'int8',
  };
  const qa = await pipeline('question-answering', new URL('https://example.com/qa/'), options);
  const answer: Answer = await qa('Who built it?', 'It was built by Ada.');
  const answers: Answer[] = await qa(['Who?'], 'It was built by Ada.');
  console.log(answer.start, answers[0]?.answer, qa.engine.model.bytes);
  const part: AnswersWithin = await qa.engine.answersWithin('Who?', 'Ada.', { most_windows: 4, timeout: 200 });
  console.log(part.answers[0]?.answer, part.windows_read, part.unread[0]?.start);
  const classify = await pipeline('sentiment-analysis', { 'config.json': new Uint8Array() });
  const labels: LabelScore[] = await classify('a joy');
  const extract = await pipeline('feature-extraction', '/models/embed');
  const tensor: Tensor = await extract(['a', 'b'], { pooling: 'mean', normalize: true });
  console.log(labels, tensor.dims);
  // @ts-expect-error there is no such task
  await pipeline('summarization', '/models/qa');
  // @ts-expect-error there is no such option
  await qa('Who?', 'Ada.', { topk: 1 });
  try {
    await qa.dispose();
  } catch (error) {
    if (error instanceof MobileBertError) console.log(error.code, error.place, error.position);
  }
}
