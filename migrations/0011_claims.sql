-- What an edge claimed without hearing so, and therefore never sent, it gives back.
ALTER TABLE effects ADD COLUMN claim INTEGER; -- the number of the claim by which it was last to be sent
