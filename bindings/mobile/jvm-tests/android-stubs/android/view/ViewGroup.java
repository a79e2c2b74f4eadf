package android.view;

import android.content.Context;

/** A stand-in for Android's class, so that the sample compiles. It does nothing. */
public class ViewGroup extends View {
    public ViewGroup(Context context) {
        super(context);
    }

    public void addView(View view) {}
}
