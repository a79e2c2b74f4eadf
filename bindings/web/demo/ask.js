// Question answering: the answer with its score, and marked in the text.

import { element, meter, Model, wrong } from './model.js';
import { QUESTIONS, TEXT } from './samples.js';

const model = new Model('question-answering', 'qa', 'Question answering');
const [form, question, answer] = ['ask-form', 'question', 'answer'].map((id) => document.getElementById(id));
const [article, context, edit] = ['article', 'context', 'edit'].map((id) => document.getElementById(id));
let latest = 0;

/** Shows the text with a piece of it marked. */
function show(start = 0, end = 0) {
  const text = context.value;
  const mark = element('mark', text.slice(start, end));
  article.replaceChildren(text.slice(0, start), ...(end > start ? [mark] : []), text.slice(end));
  if (end > start)
    article.scrollTop = Math.max(0, mark.offsetTop - article.offsetTop - article.clientHeight / 2);
}

async function ask() {
  const call = ++latest;
  answer.replaceChildren(element('span', 'Reading …', 'quiet'));
  editing(false);
  try {
    const { found } = await model.call(question.value, context.value);
    if (call !== latest) return;
    const score = `${(100 * found.score).toFixed(1)} %`;
    answer.replaceChildren(
      element('span', found.answer),
      meter(found.score),
      element('span', `score ${score}`, 'score'),
    );
    show(found.start, found.end);
  } catch (error) {
    if (call !== latest) return;
    answer.replaceChildren(wrong(error));
    show();
  }
}

function editing(isOn) {
  edit.setAttribute('aria-pressed', String(isOn));
  edit.textContent = isOn ? 'Done' : 'Edit';
  [article.hidden, context.hidden] = [isOn, !isOn];
  if (isOn) context.focus();
}

/** Prepares the tab, and asks the question that stands there. */
export function start() {
  context.value = TEXT;
  show();
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    ask();
  });
  edit.addEventListener('click', () => {
    const isOn = article.hidden;
    editing(!isOn);
    if (isOn) ask();
  });
  document.getElementById('questions').append(
    ...QUESTIONS.map((text) => {
      const chip = element('button', text);
      chip.type = 'button';
      chip.addEventListener('click', () => {
        question.value = text;
        ask();
      });
      return chip;
    }),
  );
  ask();
}
