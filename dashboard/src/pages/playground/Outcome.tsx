/** What one model answered: the best first, how long it took, and the answer as it came. */

import {
  Alert,
  Button,
  DescriptionList,
  DescriptionListDescription,
  DescriptionListGroup,
  DescriptionListTerm,
  ExpandableSection,
  Progress,
  ProgressMeasureLocation,
  Spinner,
  Title,
} from "@patternfly/react-core";
import { useState } from "react";

import { ErrorAlert } from "../../components/Failed";
import { Snippet } from "../../components/Snippet";
import { write } from "./body";
import type { Answer, Output } from "./call";
import { milliseconds, plain, scoresOf, verdictOf } from "./outputs";

export type Result = { answer: Answer; error: null } | { answer: null; error: Error };

interface OutcomeProps {
  result: Result | null;
  isAsking: boolean;
  /** No longer waits for it. */
  stop: () => void;
  hint: string;
}

export function Outcome({ result, isAsking, stop, hint }: OutcomeProps) {
  const waiting = isAsking && (
    <p className="yard-waiting">
      <Spinner isInline aria-label="Asking" /> Waiting for the answer.{" "}
      <Button variant="link" isInline onClick={stop}>
        Stop waiting
      </Button>
    </p>
  );
  if (!result) return waiting || <p className="yard-quiet">{hint}</p>;
  // While the next answer is awaited the last one stays: nothing jumps.
  return (
    <div className="yard-outcome" aria-busy={isAsking}>
      {waiting}
      {result.error ? (
        <ErrorAlert title="It gave no answer" error={result.error} />
      ) : (
        <Answered answer={result.answer} />
      )}
    </div>
  );
}

function Answered({ answer }: { answer: Answer }) {
  const { word, output: told } = verdictOf(answer.outputs);
  return (
    <>
      <div role="status" className="yard-verdict">
        {word && <span className="yard-verdict-word">{word}</span>}
        <span className="yard-quiet yard-number">
          {told && `${told.name}, `}
          <span title="From the request to the whole answer, as this browser measured it">
            {milliseconds(answer.ms)}
          </span>
          , status {answer.status}
          {answer.revision && `, revision ${answer.revision}`}
        </span>
      </div>
      {answer.outputs.length === 0 && (
        <Alert
          component="h3"
          isInline
          isPlain
          variant="info"
          title="The answer has no outputs; it is below as it came."
        />
      )}
      {answer.outputs
        .filter((output) => output !== told)
        .map((output) => (
          <OutputView key={output.name} output={output} />
        ))}
      <ExpandableSection toggleText="The answer as it came">
        <Snippet label="the answer" text={write(answer.raw)} />
        {answer.requestId && (
          <p className="yard-quiet">
            Request <code>{answer.requestId}</code>
          </p>
        )}
      </ExpandableSection>
    </>
  );
}

// More are asked for.
const [SHOWN, VALUES] = [10, 24];

function OutputView({ output }: { output: Output }) {
  const [isWhole, showAll] = useState(false);
  const scores = scoresOf(output);
  const { name, datatype, shape, data } = output;
  const title = (
    <Title headingLevel="h3" size="md">
      {name}{" "}
      <span className="yard-quiet">
        {datatype} [{shape.join(", ")}]
      </span>
    </Title>
  );
  if (scores) {
    const ranked = isWhole ? scores.ranked : scores.ranked.slice(0, SHOWN);
    return (
      <div>
        {title}
        <ol className="yard-scores">
          {ranked.map(({ index, score, part }) => (
            <li key={index}>
              <span className="yard-number">{index}</span>
              <Progress
                size="sm"
                value={Math.round(part * 1000) / 10}
                measureLocation={ProgressMeasureLocation.outside}
                label={scores.areShares ? `${(score * 100).toFixed(1)} %` : plain(score)}
                aria-label={`Class ${index}`}
              />
            </li>
          ))}
        </ol>
        {scores.ranked.length > SHOWN && (
          <Button variant="link" isInline onClick={() => showAll(!isWhole)}>
            {isWhole ? "The best only" : `All ${scores.ranked.length}`}
          </Button>
        )}
        {scores.rows > 1 && <p className="yard-quiet">Of the first of {scores.rows} rows; all are in the answer.</p>}
      </div>
    );
  }
  return (
    <div>
      <DescriptionList isCompact>
        <DescriptionListGroup>
          <DescriptionListTerm>{title}</DescriptionListTerm>
          <DescriptionListDescription>
            <span className="yard-number yard-text">
              {data
                .slice(0, VALUES)
                .map(plain)
                .join(datatype === "BYTES" ? "\n" : ", ")}
            </span>
            {data.length > VALUES && <span className="yard-quiet"> and {data.length - VALUES} more</span>}
          </DescriptionListDescription>
        </DescriptionListGroup>
      </DescriptionList>
    </div>
  );
}
