//! AdamW with states each in its own format (FP8-LM, section 2.2).
