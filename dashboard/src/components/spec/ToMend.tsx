/** What is still wrong, each with the step at which it is mended. */

import { Alert, Button, useWizardContext } from "@patternfly/react-core";

import type { Problem } from "./draft";
import { STEPS, stepOf } from "./steps";

export function ToMend({ problems }: { problems: Problem[] }) {
  const { goToStepById } = useWizardContext();
  if (problems.length === 0) return null;
  return (
    <Alert variant="danger" isInline title="Something is still wrong" component="p" role="alert">
      <ul>
        {problems.map(({ path, message }) => {
          const step = stepOf(path);
          return (
            <li key={path + message}>
              {message}{" "}
              {step !== "review" && (
                <Button variant="link" isInline onClick={() => goToStepById(step)}>
                  {STEPS[step]}
                </Button>
              )}
            </li>
          );
        })}
      </ul>
    </Alert>
  );
}
