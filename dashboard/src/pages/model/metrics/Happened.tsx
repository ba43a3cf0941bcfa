/** What the marks in the charts stand for, the newest first. */

import { Card, CardBody, CardHeader, CardTitle } from "@patternfly/react-core";

import { Ago } from "../../../components/Ago";
import { MARK_WORDS } from "../../../components/marks";
import type { ModelHistory } from "./history";

const SHOWN = 10;

export function Happened({ history, said }: { history: ModelHistory; said: string }) {
  const marks = [...history.marks].reverse();
  return (
    <Card>
      <CardHeader>
        <CardTitle component="h2">What happened meanwhile</CardTitle>
      </CardHeader>
      <CardBody>
        {marks.length === 0 ? (
          <p className="yard-quiet">Nothing was deployed, started or stopped in the last {said}.</p>
        ) : (
          <ol className="yard-events">
            {marks.slice(0, SHOWN).map((mark) => (
              <li key={mark.at + mark.kind}>
                <span className="yard-quiet yard-number">
                  <Ago at={mark.at} />
                </span>
                <span>
                  <strong>{MARK_WORDS[mark.kind]}.</strong> {mark.message}
                </span>
                <span className="yard-quiet">{mark.actor}</span>
              </li>
            ))}
          </ol>
        )}
        {marks.length > SHOWN && <p className="yard-quiet">and {marks.length - SHOWN} more before</p>}
      </CardBody>
    </Card>
  );
}
