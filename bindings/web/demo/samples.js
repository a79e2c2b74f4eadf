// Texts to begin with.

export const TEXT = `The lighthouse of Skarvøy stands on a rock two kilometres off the coast. It was designed by the engineer Ingrid Halvorsen after the steamer Aurora ran aground there in 1868 with ninety people on board, all of whom were rescued by fishermen from the village.

Building took four summers, because stone could be landed only when the sea was calm. The lamp was lit for the first time on 3 October 1874. It burned rapeseed oil, and in clear weather it was seen from thirty kilometres away.

Halvorsen lived on the island for eleven years with her husband Jonas, a painter, and their dog Bamse. Her diary says that the winters were “long but never dull”. In 1911 the lamp was replaced by an electric one, and the last keeper, Einar Dahl, left the island in 1983. Today the tower is a small hotel with seven rooms, which can be reached by boat from May to September. 😀`;

export const QUESTIONS = [
  'Who designed the lighthouse?',
  'When was the lamp lit for the first time?',
  'How many people were on board the Aurora?',
  'What did the lamp burn?',
  'Who was the last keeper?',
  'How many rooms does the hotel have?',
];

export const PARAGRAPHS = `Peel the potatoes and onions, fry them gently in butter, then cover them with stock and let the soup simmer for half an hour. Serve it hot with dark bread.

The museum opens at ten and closes at six. On Mondays it stays shut, except in August.

If the engine does not start, check the battery first. Corroded contacts are the most common cause in winter.

Our train crossed the mountains at night. In the morning we saw the sea for the first time, and nobody said a word.

The committee approved the budget for next year. Spending on schools rises by four percent, and a new library will be built near the station.

To prune an apple tree, wait for a dry day at the end of February. Remove branches that cross each other, and never more than a third of the crown.

The patient reported a headache and a sore throat for three days. She was told to rest, drink plenty of water and come back if the fever rose.`;
